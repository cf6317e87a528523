//! Passwords: bcrypt, never truncating, never more than two at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// 2^12 rounds: a quarter of a second on today's machines (OWASP asks for at least 10).
const COST: u32 = 12;
/// Hashes computed at once. More would take the processor from the streams.
const HASHES_MAX: usize = 2;
/// Shortest password, in characters (NIST SP 800-63B).
const CHARS_MIN: usize = 8;
/// bcrypt reads 72 bytes and one of them ends the text. Longer ones are refused rather than cut.
const BYTES_MAX: usize = 71;
/// zxcvbn's scale goes from 0 to 4; below 2 a password falls to a guesser within hours.
const SCORE_MIN: zxcvbn::Score = zxcvbn::Score::Two;
/// A hash of no known password: verified when there is no account, so that both cases take equally long.
const NOBODYS_HASH: &str = "$2b$12$C1yGYRVvSlB9xTRY2lHvYeCzHhQlnYF1Zl7cRX5cE9F5sQ7h2e8bS";

/// Why hashing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused.
    #[error("A password could not be hashed.")]
    Bcrypt(#[from] bcrypt::BcryptError),
    /// The process is stopping.
    #[error("The password hasher is stopping.")]
    Stopping,
}

/// Checks what a new password must be. The error is a sentence for its owner.
pub(crate) fn check(password: &str, email: &str) -> Result<(), String> {
    if password.chars().count() < CHARS_MIN {
        return Err(format!("The password must have at least {CHARS_MIN} characters."));
    }
    if password.len() > BYTES_MAX {
        return Err(format!("The password must have at most {BYTES_MAX} bytes (letters with accents count twice)."));
    }
    if password.contains('\0') {
        return Err("The password must not contain a null character.".to_owned());
    }
    let entropy = zxcvbn::zxcvbn(password, &[email, "gostream"]);
    if entropy.score() >= SCORE_MIN {
        return Ok(());
    }
    let hint = entropy.feedback().and_then(|feedback| feedback.warning()).map(|warning| format!(" {warning}"));
    Err(format!("This password is too easy to guess.{} Use a few unrelated words.", hint.unwrap_or_default()))
}

/// Hashes and verifies, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HASHES_MAX)))
    }
}

impl Passwords {
    /// The hash to store.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        self.compute(move || bcrypt::non_truncating_hash(password, COST)).await
    }

    /// Whether `password` is the one behind `hash`; `None` stands for an account that does not exist, and takes as long.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        // A password that can have no hash is compared as another, so that it takes as long, too.
        let fits = password.len() <= BYTES_MAX;
        let password = if fits { password } else { String::new() };
        let same = self.compute(move || bcrypt::non_truncating_verify(password, &hash)).await?;
        Ok(same && exists && fits)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> bcrypt::BcryptResult<T> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.0.clone().acquire_owned().await.map_err(|_| Error::Stopping)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        Ok(done.await.map_err(|_| Error::Stopping)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_unhashable_passwords_are_told() {
        for (password, part) in [
            ("short", "at least 8"),
            ("password", "easy to guess"),
            ("12345678", "easy to guess"),
            ("me@example.org", "easy to guess"),
            ("aaaaaaaaaaaa", "easy to guess"),
            ("nul\0nul tree lamp", "null"),
        ] {
            let sentence = check(password, "me@example.org").expect_err(password);
            assert!(sentence.contains(part), "{password}: {sentence}");
        }
        assert!(check(&"ä lamp tree 7".repeat(6), "me@example.org").expect_err("long").contains("71 bytes"));
        check("quiet lamp under rain", "me@example.org").expect("good");
    }

    #[tokio::test]
    async fn hashes_verify_and_nothing_is_cut() {
        let passwords = Passwords::default();
        let longest = "x".repeat(BYTES_MAX);
        let hash = passwords.hash(longest.clone()).await.expect("hashes");
        assert!(hash.starts_with("$2b$12$"), "{hash}");
        assert!(passwords.verify(longest.clone(), Some(hash.clone())).await.expect("verifies"));
        assert!(!passwords.verify(format!("{longest}y"), Some(hash.clone())).await.expect("verifies"));
        assert!(!passwords.verify("x".repeat(70), Some(hash)).await.expect("verifies"));
        assert!(passwords.hash("x".repeat(72)).await.is_err(), "refused, not cut");
    }

    #[tokio::test]
    async fn an_account_that_does_not_exist_is_hashed_for_as_well() {
        assert!(!Passwords::default().verify(String::new(), None).await.expect("the dummy is a real hash"));
    }
}
