//! Passwords: judged with zxcvbn and hashed with bcrypt, on separate threads with limited concurrency. Each address has
//! a fair share, and each account has one for clients that have logged in before.

use std::{net::IpAddr, sync::Arc, thread};

use gostream_engine::shares::{Bounds, Full, Shares};
use gostream_net::connection_limiter::subscriber_prefix;
use tokio::sync::oneshot;
use uuid::Uuid;

/// 2^12 rounds: a quarter of a second on today's machines (OWASP asks for at least 10).
const COST: u32 = 12;
/// The queue of unknown clients, by address. Two run at a time: more would take the processor from the streams. A queue
/// of 32 is four seconds of work: a class that signs up together waits that long for itself, while a client from
/// another address waits for one hash. The whole queue takes half of a request's timeout.
const UNKNOWN: Bounds = Bounds { running: 2, running_each: 2, waiting: 64, waiting_each: 32 };
/// The queue of known clients, by account. They never wait for unknown clients, regardless of the number of addresses.
const KNOWN: Bounds = Bounds { running: 1, running_each: 1, waiting: 32, waiting_each: 8 };
/// The shortest password in characters (NIST SP 800-63B).
const CHARS_MIN: usize = 8;
/// bcrypt reads 72 bytes, one of which terminates the text. Longer passwords are refused, not truncated.
const BYTES_MAX: usize = 71;
/// zxcvbn scores range from 0 to 4; below 2, a password can be guessed within hours.
const SCORE_MIN: zxcvbn::Score = zxcvbn::Score::Two;
/// The length of the parts that are judged, in characters. zxcvbn's time grows with the square of the length and with
/// each digit or sign that can replace a letter: 71 of them take a second, this many take some hundredths.
const JUDGED_CHARS: usize = 24;
/// The length, in characters, of the words that a password must not be based on, such as the email address. The rest is
/// ignored.
const HINT_CHARS: usize = 64;
/// A hash of no known password. It is verified when the account does not exist, so that both cases take equally long.
const NOBODYS_HASH: &str = "$2b$12$C1yGYRVvSlB9xTRY2lHvYeCzHhQlnYF1Zl7cRX5cE9F5sQ7h2e8bS";

/// Why hashing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// bcrypt failed.
    #[error("A password could not be hashed.")]
    Bcrypt(#[from] bcrypt::BcryptError),
    /// The queue is full.
    #[error("Too many passwords are waiting to be checked.")]
    Busy(#[from] Full),
    /// A thread could not be started.
    #[error("The password hasher has no thread.")]
    Thread(#[source] std::io::Error),
    /// The process is stopping.
    #[error("The password hasher is stopping.")]
    Stopping,
}

/// Checks all rules for a new password. The error is a sentence for its owner. Takes some tenths of a second.
pub(crate) fn check(password: &str, email: &str) -> Result<(), String> {
    check_form(password)?;
    check_strength(password, email)
}

/// Checks the rules that cost no time: length, and characters that bcrypt does not accept.
pub(crate) fn check_form(password: &str) -> Result<(), String> {
    if password.chars().count() < CHARS_MIN {
        return Err(format!("The password must have at least {CHARS_MIN} characters."));
    }
    if password.len() > BYTES_MAX {
        return Err(format!("The password must have at most {BYTES_MAX} bytes (letters with accents count twice)."));
    }
    if password.contains('\0') {
        return Err("The password must not contain a null character.".to_owned());
    }
    Ok(())
}

/// Judges the strength. A long password is judged in parts. It is at least as strong as the strongest part, so no weak
/// password is accepted.
fn check_strength(password: &str, email: &str) -> Result<(), String> {
    let chars: Vec<char> = password.chars().collect();
    let email: String = email.chars().take(HINT_CHARS).collect();
    let mut warning = None;
    for part in chars.chunks(JUDGED_CHARS) {
        let part: String = part.iter().collect();
        let entropy = zxcvbn::zxcvbn(&part, &[email.as_str(), "gostream"]);
        if entropy.score() >= SCORE_MIN {
            return Ok(());
        }
        warning = warning.or_else(|| entropy.feedback()?.warning().map(|warning| format!(" {warning}")));
    }
    Err(format!("This password is too easy to guess.{} Use a few unrelated words.", warning.unwrap_or_default()))
}

/// Judges, hashes and verifies passwords, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    unknown: Arc<Shares<Client>>,
    known: Arc<Shares<Client>>,
}

/// The owner of a share of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// An unknown client by its [`subscriber_prefix`]; `None` without an address.
    Unknown(Option<IpAddr>),
    /// A browser or an address that has logged in to this account before.
    Known(Uuid),
}

impl Default for Passwords {
    fn default() -> Self {
        Self { unknown: Shares::new(UNKNOWN), known: Shares::new(KNOWN) }
    }
}

impl Passwords {
    /// The queue of an unknown client at this address; `None` for a client without an address.
    pub(crate) fn of(&self, address: Option<IpAddr>) -> Hasher {
        let client = Client::Unknown(address.map(subscriber_prefix));
        Hasher { lines: vec![(Arc::clone(&self.unknown), client)] }
    }

    /// The queues of a client that has logged in to the account before: first that of known clients, then, if it is
    /// full, that of its address.
    pub(crate) fn of_known(&self, user: Uuid, address: Option<IpAddr>) -> Hasher {
        let mut hasher = self.of(address);
        hasher.lines.insert(0, (Arc::clone(&self.known), Client::Known(user)));
        hasher
    }
}

/// The queues that a client may wait in. Each is used if the previous one is full.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    lines: Vec<(Arc<Shares<Client>>, Client)>,
}

impl Hasher {
    /// Judges a new password that has passed [`check_form`]; the inner error is a sentence for its owner.
    pub(crate) async fn judge(&self, password: String, email: String) -> Result<Result<(), String>, Error> {
        self.compute(move || check_strength(&password, &email)).await
    }

    /// The hash to store for a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        Ok(self.compute(move || bcrypt::non_truncating_hash(password, COST)).await??)
    }

    /// Whether `password` matches `hash`. `None` means that the account does not exist, and takes equally long.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        // A password that is too long for a hash is replaced by another one, so that the check takes equally long.
        let fits = password.len() <= BYTES_MAX;
        let password = if fits { password } else { String::new() };
        let same = self.compute(move || bcrypt::non_truncating_verify(password, &hash)).await??;
        Ok(same && exists && fits)
    }

    /// Runs `work` on a thread of its own, and not in tokio's pool for blocking work, where other work would delay
    /// logins and vice versa.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let mut share = Err(Full);
        for (pool, client) in &self.lines {
            share = pool.take(*client).await;
            if share.is_ok() {
                break;
            }
        }
        let share = share?;
        let (done, result) = oneshot::channel();
        let work = move || {
            let result = work();
            drop(share);
            // The receiver is gone if the client closed its connection.
            let _ = done.send(result);
        };
        thread::Builder::new().name("password".to_owned()).spawn(work).map_err(Error::Thread)?;
        result.await.map_err(|_| Error::Stopping)
    }
}

#[cfg(test)]
mod tests;
