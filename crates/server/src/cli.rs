//! The command line, parsed into one [`Command`].

use std::{
    ffi::OsString,
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches};
use gostream_store::{Error as StoreError, Revoke, Revoked, Store, User};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api,
    app::{self, StartError},
    config::{self, SETTINGS, Settings},
    login::password::{self, Passwords},
};

/// A command of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Print the effective settings.
    Config,
    /// Make an account.
    AddUser(String),
    /// Set the password of an account.
    SetPassword(String, Revoke),
    /// End every login of an account.
    SignOut(String, Revoke),
    /// Delete an account.
    RemoveUser(String),
    /// Ask the running server whether it is ready.
    Health,
    /// Replace the secret key.
    RotateSecret,
    /// Copy everything into a new file.
    Backup(PathBuf),
    /// Restore a backup.
    Restore {
        /// The file.
        from: PathBuf,
        /// Move existing files aside.
        force: bool,
    },
}

/// Why a command about accounts failed; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Not an email address.
    #[error("{0}")]
    Email(String),
    /// The password is too weak, too long or missing.
    #[error("{0}")]
    Password(String),
    /// The password cannot be read.
    #[error("The password could not be read: {0}.")]
    Read(#[from] io::Error),
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] password::Error),
    /// `user add` for an account that exists.
    #[error("{0} has an account already; `gostream user password {0}` sets a new password.")]
    Taken(String),
    /// `user password` for an account that does not exist.
    #[error("{0} has no account; `gostream user add {0}` makes one.")]
    Unknown(String),
    /// The database.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<StoreError> for UserError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Parses the command line and the settings. Exits for `--help` and `--version`, and with code 2 for an unknown
/// argument.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Command, Settings), config::Error> {
    let matches = grammar().get_matches_from(arguments);
    let (command, innermost) = match matches.subcommand() {
        Some(("config", inner)) => (Command::Config, inner),
        Some(("health", inner)) => (Command::Health, inner),
        Some(("secret", secret)) => (Command::RotateSecret, secret.subcommand().map_or(secret, |(_, inner)| inner)),
        Some(("backup", inner)) => (Command::Backup(file(inner)), inner),
        Some(("restore", inner)) => (Command::Restore { from: file(inner), force: inner.get_flag("force") }, inner),
        Some(("user", user)) => match user.subcommand() {
            Some(("password", inner)) => (Command::SetPassword(email(inner), revoke(inner)), inner),
            Some(("sign-out", inner)) => (Command::SignOut(email(inner), revoke(inner)), inner),
            Some(("remove", inner)) => (Command::RemoveUser(email(inner)), inner),
            Some((_, inner)) => (Command::AddUser(email(inner)), inner),
            None => (Command::Serve, user),
        },
        Some((_, inner)) => (Command::Serve, inner),
        None => (Command::Serve, &matches),
    };
    // Flags are global: the innermost matches contain them wherever they were given.
    let flags = SETTINGS
        .iter()
        .filter_map(|setting| Some((setting.key, innermost.get_one::<String>(setting.key)?.clone())));
    let file = innermost.get_one::<PathBuf>("config");
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    Ok((command, config::load(flags, file.map(PathBuf::as_path), env)?))
}

fn file(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("file").cloned().unwrap_or_default()
}

fn email(matches: &ArgMatches) -> String {
    matches.get_one::<String>("email").cloned().unwrap_or_default()
}

fn revoke(matches: &ArgMatches) -> Revoke {
    Revoke { tokens: !matches.get_flag("keep-tokens"), stream_keys: matches.get_flag("renew-stream-keys") }
}

/// Adds the flags that say what ends besides the sessions of an account; [`revoke`] reads them.
fn revocation(command: clap::Command) -> clap::Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    command
        .arg(flag("keep-tokens", "Keeps the API tokens of the account, which otherwise end"))
        .arg(flag(
            "renew-stream-keys",
            "Gives every project a new stream key and disconnects encoders that use the old one",
        ))
}

fn grammar() -> clap::Command {
    let email = || Arg::new("email").value_name("EMAIL").required(true);
    let user = clap::Command::new("user")
        .about("Makes accounts, sets passwords, ends logins, removes accounts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("add")
                .about("Creates an account; reads the password from standard input")
                .arg(email()),
        )
        .subcommand(revocation(
            clap::Command::new("password")
                .about(
                    "Sets a new password, read from standard input, and ends every login and API token of the account",
                )
                .arg(email()),
        ))
        .subcommand(revocation(
            clap::Command::new("sign-out").about("Ends every login and API token of an account").arg(email()),
        ))
        .subcommand(
            clap::Command::new("remove")
                .about("Removes an account with its projects and their history; live streams end within seconds")
                .arg(email()),
        );
    let secret = clap::Command::new("secret")
        .about("Replaces the secret key")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(clap::Command::new("rotate").about(
            "Makes a new secret key and encrypts everything with it, while the server is stopped; reads the new key from \
             standard input if the setting secret_key holds the current one",
        ));
    let copy = || Arg::new("file").value_name("FILE").required(true).value_parser(clap::value_parser!(PathBuf));
    let force = Arg::new("force").long("force").action(ArgAction::SetTrue).help("Moves existing files aside");
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Settings file [default: ./gostream.toml if it exists]");
    clap::Command::new("gostream")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One live stream in, every platform out. Without a command it runs the server.")
        .after_help(
            "Every setting can come from a flag, the environment or gostream.toml; `gostream config` shows the source of each.",
        )
        .arg(file.value_parser(clap::value_parser!(PathBuf)).global(true))
        .args(SETTINGS.iter().map(setting_flag))
        .subcommand(clap::Command::new("serve").about("Runs the server (also without a command)"))
        .subcommand(user)
        .subcommand(clap::Command::new("config").about("Prints the effective settings and where each came from"))
        .subcommand(clap::Command::new("health").about("Asks the server with these settings whether it is ready"))
        .subcommand(secret)
        .subcommand(
            clap::Command::new("backup")
                .about("Copies database, secret key and server name into a new file, also while the server runs")
                .arg(copy()),
        )
        .subcommand(
            clap::Command::new("restore")
                .about("Restores a file written by `gostream backup`, while the server is stopped")
                .arg(copy())
                .arg(force),
        )
}

fn setting_flag(setting: &'static config::Setting) -> Arg {
    let default = if setting.default.is_empty() { String::new() } else { format!(", default {}", setting.default) };
    Arg::new(setting.key)
        .long(setting.flag)
        .value_name("VALUE")
        .action(ArgAction::Set)
        .global(true)
        .help(format!("{} [{}, {}{default}]", setting.help, setting.key, setting.env))
}

/// `gostream user add`.
pub async fn add_user(settings: &Settings, email: &str) -> Result<(), UserError> {
    let email = api::email(email).map_err(UserError::Email)?;
    let hash = hash_new_password(&email).await?;
    let (store, _) = app::open_store(settings).await?;
    let added = store.add_user(&email, &hash).await;
    store.close().await;
    match added {
        Ok(_) => Ok(()),
        Err(StoreError::EmailTaken) => Err(UserError::Taken(email)),
        Err(error) => Err(error.into()),
    }
}

/// `gostream user password`. Ends every session of the account, and what `revoke` names. A running server notices the
/// change in the database: requests at once, open event streams and publishers within seconds.
pub async fn set_password(settings: &Settings, email: &str, revoke: Revoke) -> Result<Revoked, UserError> {
    let (store, found) = open_account(settings, email).await?;
    let hash = hash_new_password(&found.email).await?;
    let revoked = store.set_password(found.id, &hash, None, revoke).await;
    store.close().await;
    Ok(revoked?)
}

/// `gostream user sign-out`: like [`set_password`], without a new password.
pub async fn sign_out(settings: &Settings, email: &str, revoke: Revoke) -> Result<Revoked, UserError> {
    let (store, found) = open_account(settings, email).await?;
    let revoked = store.end_sessions(found.id, revoke).await;
    store.close().await;
    Ok(revoked?)
}

/// `gostream user remove`.
pub async fn remove_user(settings: &Settings, email: &str) -> Result<(), UserError> {
    let (store, found) = open_account(settings, email).await?;
    let removed = store.remove_user(found.id).await;
    store.close().await;
    Ok(removed?)
}

async fn open_account(settings: &Settings, email: &str) -> Result<(Store, User), UserError> {
    let email = api::email(email).map_err(UserError::Email)?;
    let (store, _) = app::open_store(settings).await?;
    let found = store.credentials(&email).await?.ok_or(UserError::Unknown(email))?;
    Ok((store, found.user))
}

async fn hash_new_password(email: &str) -> Result<String, UserError> {
    let password = read_secret("New password: ")?;
    password::check(password.expose_secret(), email).map_err(UserError::Password)?;
    Ok(Passwords::default().of(None).hash(password.expose_secret().to_owned()).await?)
}

/// Reads a secret from a prompt without echo, or from the first line of piped input.
pub fn read_secret(prompt: &str) -> io::Result<SecretString> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map(SecretString::from);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).into())
}
