//! Passwords: judged with zxcvbn and hashed with bcrypt, both on threads of their own, a few at a time, fairly by
//! address, and by account for those who have logged in before.

use std::{net::IpAddr, sync::Arc, thread};

use gostream_engine::shares::{Bounds, Full, Shares};
use gostream_net::connection_limiter::subscriber_prefix;
use tokio::sync::oneshot;
use uuid::Uuid;

/// 2^12 rounds: a quarter of a second on today's machines (OWASP asks for at least 10).
const COST: u32 = 12;
/// For strangers, by address. Two at a time: more would take the processor from the streams. A line of 32 is four seconds' work: a class that signs up
/// together waits that long for itself, while a client from elsewhere waits for one. The whole line is half of the time
/// that a request has.
const STRANGERS: Bounds = Bounds { running: 2, running_each: 2, waiting: 64, waiting_each: 32 };
/// For clients that an account knows, by account: they never wait for strangers, from however many addresses those come.
const KNOWN: Bounds = Bounds { running: 1, running_each: 1, waiting: 32, waiting_each: 8 };
/// Shortest password, in characters (NIST SP 800-63B).
const CHARS_MIN: usize = 8;
/// bcrypt reads 72 bytes and one of them ends the text. Longer ones are refused rather than cut.
const BYTES_MAX: usize = 71;
/// zxcvbn's scale goes from 0 to 4; below 2 a password falls to a guesser within hours.
const SCORE_MIN: zxcvbn::Score = zxcvbn::Score::Two;
/// zxcvbn takes time with the square of the length and with each digit or sign that may stand for a letter: a second for 71 of
/// them, some hundredths for this many.
const JUDGED_CHARS: usize = 24;
/// Of the words that a password must not lean on, such as the email address, this much is looked at.
const HINT_CHARS: usize = 64;
/// A hash of no known password: verified when there is no account, so that both cases take equally long.
const NOBODYS_HASH: &str = "$2b$12$C1yGYRVvSlB9xTRY2lHvYeCzHhQlnYF1Zl7cRX5cE9F5sQ7h2e8bS";

/// Why hashing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused.
    #[error("A password could not be hashed.")]
    Bcrypt(#[from] bcrypt::BcryptError),
    /// The line is too long.
    #[error("Too many passwords are waiting to be checked.")]
    Busy(#[from] Full),
    /// There is no thread for it.
    #[error("The password hasher has no thread.")]
    Thread(#[source] std::io::Error),
    /// The process is stopping.
    #[error("The password hasher is stopping.")]
    Stopping,
}

/// Checks what a new password must be, all of it. The error is a sentence for its owner. Takes some tenths of a second.
pub(crate) fn check(password: &str, email: &str) -> Result<(), String> {
    check_form(password)?;
    check_strength(password, email)
}

/// What is checked at no cost: length, and what bcrypt cannot take.
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

/// Whether a guesser would take long. A long password is judged in parts, each as if it were the whole: it is at least as strong
/// as the strongest of them, so none is called good that is not.
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

/// Judges, hashes and verifies, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    strangers: Arc<Shares<Client>>,
    known: Arc<Shares<Client>>,
}

/// Who has a part of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// A [`subscriber`]; `None` without an address.
    Stranger(Option<IpAddr>),
    /// A browser or an address that logged in to this account before.
    Known(Uuid),
}

impl Default for Passwords {
    fn default() -> Self {
        Self { strangers: Shares::new(STRANGERS), known: Shares::new(KNOWN) }
    }
}

impl Passwords {
    /// The part that one address has; `None` for a client without one.
    pub(crate) fn of(&self, address: Option<IpAddr>) -> Hasher {
        let client = Client::Stranger(address.map(subscriber_prefix));
        Hasher { lines: vec![(Arc::clone(&self.strangers), client)] }
    }

    /// The part of those whom an account knows. Where too many accounts wait, it is one of the address as well.
    pub(crate) fn of_known(&self, user: Uuid, address: Option<IpAddr>) -> Hasher {
        let mut hasher = self.of(address);
        hasher.lines.insert(0, (Arc::clone(&self.known), Client::Known(user)));
        hasher
    }
}

/// The lines in which one client may wait, each where the one before is full.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    lines: Vec<(Arc<Shares<Client>>, Client)>,
}

impl Hasher {
    /// Judges a new password that has the right form; the inner error is a sentence for its owner.
    pub(crate) async fn judge(&self, password: String, email: String) -> Result<Result<(), String>, Error> {
        self.compute(move || check_strength(&password, &email)).await
    }

    /// The hash to store.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        Ok(self.compute(move || bcrypt::non_truncating_hash(password, COST)).await??)
    }

    /// Whether `password` is the one behind `hash`; `None` stands for an account that does not exist, and takes as long.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        // A password that can have no hash is compared as another, so that it takes as long, too.
        let fits = password.len() <= BYTES_MAX;
        let password = if fits { password } else { String::new() };
        let same = self.compute(move || bcrypt::non_truncating_verify(password, &hash)).await??;
        Ok(same && exists && fits)
    }

    /// Not on tokio's threads for blocking work: whatever else runs there would hold up logins, and they it.
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
            // Nobody waits for it when the client hung up.
            let _ = done.send(result);
        };
        thread::Builder::new().name("password".to_owned()).spawn(work).map_err(Error::Thread)?;
        result.await.map_err(|_| Error::Stopping)
    }
}

#[cfg(test)]
mod tests;
