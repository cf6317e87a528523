//! Encryption at rest: seals the keys of projects and destinations, and looks up a project by its key without storing
//! it in plain text.
//!
//! ```text
//! sealed value   key id (1 byte, 1) | nonce (24 bytes) | XChaCha20-Poly1305 ciphertext and tag
//! associated     "gostream/seal/<key id>/<table>/<column>/<row id>"
//! ```
//! The associated data binds a sealed value to its location: in another row it cannot be decrypted.

use std::fmt;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use hmac::{Hmac, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use uuid::Uuid;

use crate::error::Error;

/// Identifies the key of a sealed value, so that a second key can be distinguished during a replacement.
const KEY_ID: u8 = 1;
/// Bytes of XChaCha20's nonce (draft-irtf-cfrg-xchacha, section 2): long enough to be random for each value.
const NONCE_BYTES: usize = 24;

/// The encryption and lookup keys, derived from the server's secret key.
pub struct Keyring {
    sealing: XChaCha20Poly1305,
    lookup: Hmac<Sha256>,
}

/// The location of a sealed value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: Uuid,
}

impl Keyring {
    /// Derives the keys. The secret key itself is not kept.
    pub fn new(key: [u8; 32]) -> Self {
        let sealing = derive(&key, b"gostream/store/seal/1");
        let lookup = derive(&key, b"gostream/store/lookup/1");
        Self { sealing: XChaCha20Poly1305::new(&sealing.into()), lookup: keyed(&lookup) }
    }

    /// Encrypts a secret for a location.
    pub(crate) fn seal(&self, location: Location, secret: &str) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let location = location.associated();
        let payload = Payload { msg: secret.as_bytes(), aad: location.as_bytes() };
        let ciphertext = self.sealing.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Seal)?;
        Ok([&[KEY_ID], nonce.as_slice(), &ciphertext].concat())
    }

    /// Decrypts the output of [`Keyring::seal`], at the same location only.
    pub(crate) fn unseal(&self, location: Location, sealed: &[u8]) -> Result<SecretString, Error> {
        self.open(location, sealed).ok_or(Error::Unseal {
            table: location.table,
            column: location.column,
            row: location.row,
        })
    }

    fn open(&self, location: Location, sealed: &[u8]) -> Option<SecretString> {
        let (&KEY_ID, sealed) = sealed.split_first()? else { return None };
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let location = location.associated();
        let payload = Payload { msg: ciphertext, aad: location.as_bytes() };
        let secret = self.sealing.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(secret).ok().map(SecretString::from)
    }

    /// The keyed hash for stream key lookups. A reader of the database cannot test keys against it.
    pub(crate) fn lookup(&self, stream_key: &str) -> Vec<u8> {
        let mut hash = self.lookup.clone();
        hash.update(stream_key.as_bytes());
        hash.finalize().into_bytes().to_vec()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(****)")
    }
}

impl Location {
    fn associated(&self) -> String {
        format!("gostream/seal/{KEY_ID}/{}/{}/{}", self.table, self.column, self.row)
    }
}

fn derive(key: &[u8; 32], label: &[u8]) -> [u8; 32] {
    let mut hash = keyed(key);
    hash.update(label);
    hash.finalize().into_bytes().into()
}

/// HMAC-SHA256. A key padded to the hash's block size avoids a fallible length check (RFC 2104, section 2: shorter keys
/// are padded with zeros, so the result is that of the 32 bytes).
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn location() -> Location {
        Location { table: "destinations", column: "stream_key", row: Uuid::from_u128(7) }
    }

    #[test]
    fn sealed_values_open_at_their_location_only() {
        let keyring = Keyring::new([1; 32]);
        let sealed = keyring.seal(location(), "live_1?a=b&c").unwrap();
        assert_eq!(keyring.unseal(location(), &sealed).unwrap().expose_secret(), "live_1?a=b&c");

        for other in [
            Location { table: "projects", ..location() },
            Location { column: "name", ..location() },
            Location { row: Uuid::from_u128(8), ..location() },
        ] {
            assert!(matches!(keyring.unseal(other, &sealed), Err(Error::Unseal { .. })), "{other:?}");
        }
        assert!(Keyring::new([2; 32]).unseal(location(), &sealed).is_err());
    }

    #[test]
    fn a_changed_or_truncated_value_is_refused() {
        let keyring = Keyring::new([1; 32]);
        let sealed = keyring.seal(location(), "key").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keyring.unseal(location(), &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(keyring.unseal(location(), &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn equal_secrets_have_different_sealed_values() {
        let keyring = Keyring::new([1; 32]);
        assert_ne!(keyring.seal(location(), "key").unwrap(), keyring.seal(location(), "key").unwrap());
    }

    #[test]
    fn lookup_is_hmac_sha256_with_a_separate_key() {
        let keyring = Keyring::new([1; 32]);
        assert_eq!(keyring.lookup("key"), Keyring::new([1; 32]).lookup("key"));
        assert_ne!(keyring.lookup("key"), Keyring::new([2; 32]).lookup("key"));
        assert_ne!(keyring.lookup("key"), keyring.lookup("Key"));

        let mut rfc = Hmac::<Sha256>::new_from_slice(&derive(&[1; 32], b"gostream/store/lookup/1")).unwrap();
        rfc.update(b"key");
        assert_eq!(keyring.lookup("key"), rfc.finalize().into_bytes().to_vec());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Keyring::new([0x41; 32])), "Keyring(****)");
    }
}
