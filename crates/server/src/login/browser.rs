//! Browsers that logged in before. Each keeps a cookie that says so, signed, and has tries of its own at the password of its
//! account: what strangers try does not lock it out. The cookie opens nothing and proves nothing else, and counts until all
//! logins of the account end, as with a new password.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use crate::config::SecretKey;

/// Separates this use of the secret key from every other.
const KEY_LABEL: &[u8] = b"gostream known browser v1";
/// Two ids, a version and a code.
const BYTES: usize = 16 + 16 + 8 + 32;

/// Signs and checks what browsers keep.
pub(crate) struct Browsers {
    key: Vec<u8>,
}

/// A browser that logged in to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Browser {
    /// The account.
    pub(crate) user: Uuid,
    /// The browser.
    pub(crate) id: Uuid,
    /// The account's `login_version`.
    pub(crate) login_version: i64,
}

impl std::fmt::Debug for Browsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browsers(****)")
    }
}

impl Browsers {
    /// Derives the key from the server's secret key.
    pub(crate) fn new(secret: &SecretKey) -> Self {
        Self { key: code(&secret.0, KEY_LABEL).finalize().into_bytes().to_vec() }
    }

    /// What this browser keeps.
    pub(crate) fn sign(&self, browser: Browser) -> String {
        let ids = [browser.user.into_bytes(), browser.id.into_bytes()].concat();
        let signed = [ids.as_slice(), &browser.login_version.to_be_bytes()].concat();
        let signature = code(&self.key, &signed).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([signed.as_slice(), signature.as_slice()].concat())
    }

    /// The browser, if we signed it.
    pub(crate) fn read(&self, text: &str) -> Option<Browser> {
        let bytes: [u8; BYTES] = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (signed, signature) = bytes.split_last_chunk::<32>()?;
        code(&self.key, signed).verify_slice(signature).ok()?;
        let (user, rest) = signed.split_first_chunk()?;
        let (id, version) = rest.split_first_chunk()?;
        let login_version = i64::from_be_bytes(version.try_into().ok()?);
        Some(Browser { user: Uuid::from_bytes(*user), id: Uuid::from_bytes(*id), login_version })
    }
}

fn code(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length.
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("any length is one of a key"));
    mac.chain_update(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_here_is_read() {
        let browsers = Browsers::new(&SecretKey([7; 32]));
        let browser = Browser { user: Uuid::new_v4(), id: Uuid::new_v4(), login_version: 7 };
        let text = browsers.sign(browser);
        assert_eq!(browsers.read(&text), Some(browser));
        assert_eq!(Browsers::new(&SecretKey([8; 32])).read(&text), None, "another server's");
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).expect("is base64");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(browsers.read(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for bad in ["", "a", "....", &text[1..], &format!("{text}AAAA")] {
            assert_eq!(browsers.read(bad), None, "{bad}");
        }
    }
}
