//! Browsers that logged in before. Each keeps a signed cookie and has a separate limit of password attempts for its
//! account, so that attempts by other clients do not lock it out. The cookie proves nothing else. It is valid until all
//! logins of the account end, for example by a new password.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use crate::config::SecretKey;

/// Separates this use of the secret key from every other.
const KEY_LABEL: &[u8] = b"gostream known browser v1";
/// The bytes of a decoded cookie: two ids, a version and a signature.
const BYTES: usize = 16 + 16 + 8 + 32;

/// Signs and verifies the cookies of known browsers.
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

    /// The cookie value for this browser.
    pub(crate) fn sign(&self, browser: Browser) -> String {
        let ids = [browser.user.into_bytes(), browser.id.into_bytes()].concat();
        let signed = [ids.as_slice(), &browser.login_version.to_be_bytes()].concat();
        let signature = code(&self.key, &signed).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([signed.as_slice(), signature.as_slice()].concat())
    }

    /// The browser of a cookie value, if its signature is valid.
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
    fn only_cookies_signed_by_this_server_are_read() {
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
