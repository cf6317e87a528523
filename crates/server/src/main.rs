//! The `gostream` program: parses the command line, runs the command and prints its result.

use std::{
    io::{ErrorKind, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use gostream::{
    app::{App, StartError},
    backup,
    cli::{self, Command, UserError},
    config::Settings,
    health, notify, process,
    rotate::{self, Rotated},
    telemetry,
};
use gostream_store::{Resealed, Revoked};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code for a setting that must be changed.
const BAD_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    process::forbid_core_dumps();
    let (command, settings) = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&error.into()),
    };
    telemetry::init(&settings.log);
    match run(command, settings) {
        Ok(()) => {
            telemetry::flush();
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Prints the error on one line and returns the exit code.
fn fail(error: &anyhow::Error) -> ExitCode {
    telemetry::print(&format!("gostream: {error}\n"));
    telemetry::flush();
    let start = error.downcast_ref::<StartError>().or_else(|| match error.downcast_ref() {
        Some(UserError::Start(start)) => Some(start),
        _ => None,
    });
    let setting = error.is::<gostream::config::Error>()
        || start.is_some_and(StartError::is_setting)
        || error.downcast_ref().is_some_and(backup::Error::is_setting)
        || error.downcast_ref().is_some_and(rotate::Error::is_setting);
    if setting { ExitCode::from(BAD_SETTINGS) } else { ExitCode::FAILURE }
}

#[tokio::main]
async fn run(command: Command, settings: Settings) -> anyhow::Result<()> {
    match command {
        Command::Config => print_whole(&settings.to_string())?,
        Command::AddUser(email) => {
            cli::add_user(&settings, &email).await?;
            println!("{email} has an account now.");
        }
        Command::SetPassword(email, revoke) => {
            let revoked = cli::set_password(&settings, &email, revoke).await?;
            println!("{email} has a new password; {}.", ended(&revoked));
        }
        Command::SignOut(email, revoke) => {
            let revoked = cli::sign_out(&settings, &email, revoke).await?;
            println!("{email} is signed out; {}.", ended(&revoked));
        }
        Command::RemoveUser(email) => {
            cli::remove_user(&settings, &email).await?;
            println!("{email} has no account any more.");
        }
        Command::Health => {
            health::check(&settings).await?;
            println!("The server is ready.");
        }
        Command::RotateSecret => {
            let Rotated { resealed, old } = rotate::rotate(&settings, || cli::read_secret("New secret key: ")).await?;
            let Resealed { projects, destinations } = resealed;
            println!(
                "The keys of {projects} projects and {destinations} destinations are encrypted with the new secret key."
            );
            match old {
                Some(old) => println!("The previous key is in {}; only older backups need it.", old.display()),
                None => println!("Set secret_key to the new key before the server starts."),
            }
            println!("Everybody has to log in again.");
        }
        Command::Backup(to) => {
            backup::write(&settings, &to).await?;
            println!("{} holds all data and the secret key: keep it where only you can read it.", to.display());
        }
        Command::Restore { from, force } => {
            if let Some(ending) = backup::restore(&settings, &from, force).await? {
                println!("The previous files were renamed; their names end in .{ending}.");
            }
            println!("{} is restored, and the server may start.", from.display());
        }
        Command::Serve => serve(settings).await?,
    }
    Ok(())
}

fn ended(revoked: &Revoked) -> String {
    let Revoked { sessions, tokens, renewed, .. } = revoked;
    format!("{sessions} sessions and {tokens} API tokens ended, {} stream keys were renewed", renewed.len())
}

/// A reader that closes the pipe early (`gostream config | head`) is not an error.
fn print_whole(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Handlers come first, so that a signal during the start also stops the server cleanly. By default these signals
    // kill the process, and relays could not say goodbye to the platforms.
    let (request_stop, mut stop_requested) = tokio::sync::mpsc::channel(1);
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        let mut signals = signal(kind).context("A signal cannot be caught")?;
        let request_stop = request_stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // One queued request is enough.
                let _ = request_stop.try_send(());
            }
        });
    }
    // SIGHUP reloads the certificate files.
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let app = tokio::select! {
        app = App::start(settings) => app?,
        _ = stop_requested.recv() => return Ok(()),
    };
    telemetry::print(&app.banner());
    notify::send_state(notify::READY);
    loop {
        tokio::select! {
            _ = stop_requested.recv() => break,
            _ = hangup.recv() => app.reload(),
        }
    }
    notify::send_state(notify::STOPPING);
    tracing::info!("The server is stopping.");
    app.stop().await;
    tracing::info!("The server stopped.");
    Ok(())
}
