//! Encryption at rest: seals the keys of projects and destinations, and finds a project by its key without storing it.
//!
//! ```text
//! sealed value   key id (1 byte, 1) | nonce (24 bytes) | XChaCha20-Poly1305 ciphertext and tag
//! associated     "gostream/seal/<key id>/<table>/<column>/<row id>"
//! ```
//! The associated data ties a sealed value to its place: copied to another row it does not open.

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

/// Names the key that sealed a value, so that a second one can be told apart when keys are replaced.
const KEY_ID: u8 = 1;
/// XChaCha20's nonce (draft-irtf-cfrg-xchacha, section 2): long enough to be drawn at random for each value.
const NONCE_BYTES: usize = 24;

/// The keys that the store works with, all derived from the server's one secret key.
pub struct Keyring {
    sealing: XChaCha20Poly1305,
    lookup: Hmac<Sha256>,
}

/// Where a sealed value lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
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

    /// Seals a secret for its place.
    pub(crate) fn seal(&self, place: Place, secret: &str) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let place = place.associated();
        let payload = Payload { msg: secret.as_bytes(), aad: place.as_bytes() };
        let ciphertext = self.sealing.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Seal)?;
        Ok([&[KEY_ID], nonce.as_slice(), &ciphertext].concat())
    }

    /// Opens what [`Keyring::seal`] made, at the same place only.
    pub(crate) fn unseal(&self, place: Place, sealed: &[u8]) -> Result<SecretString, Error> {
        self.open(place, sealed)
            .ok_or(Error::Unseal { table: place.table, column: place.column, row: place.row })
    }

    fn open(&self, place: Place, sealed: &[u8]) -> Option<SecretString> {
        let (&KEY_ID, sealed) = sealed.split_first()? else { return None };
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let place = place.associated();
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        let secret = self.sealing.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(secret).ok().map(SecretString::from)
    }

    /// The keyed hash by which a stream key is found. Who reads the database cannot try keys against it.
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

impl Place {
    fn associated(&self) -> String {
        format!("gostream/seal/{KEY_ID}/{}/{}/{}", self.table, self.column, self.row)
    }
}

fn derive(key: &[u8; 32], label: &[u8]) -> [u8; 32] {
    let mut hash = keyed(key);
    hash.update(label);
    hash.finalize().into_bytes().into()
}

/// HMAC-SHA256. A key of the hash's own block size goes in without a length check that could fail (RFC 2104, section 2:
/// shorter keys are padded with zeros, so the result is that of the 32 bytes).
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn place() -> Place {
        Place { table: "destinations", column: "stream_key", row: Uuid::from_u128(7) }
    }

    #[test]
    fn sealed_values_open_in_their_place_only() {
        let keyring = Keyring::new([1; 32]);
        let sealed = keyring.seal(place(), "live_1?a=b&c").unwrap();
        assert_eq!(keyring.unseal(place(), &sealed).unwrap().expose_secret(), "live_1?a=b&c");

        for other in [
            Place { table: "projects", ..place() },
            Place { column: "name", ..place() },
            Place { row: Uuid::from_u128(8), ..place() },
        ] {
            assert!(matches!(keyring.unseal(other, &sealed), Err(Error::Unseal { .. })), "{other:?}");
        }
        assert!(Keyring::new([2; 32]).unseal(place(), &sealed).is_err());
    }

    #[test]
    fn a_changed_bit_or_a_cut_is_refused() {
        let keyring = Keyring::new([1; 32]);
        let sealed = keyring.seal(place(), "key").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keyring.unseal(place(), &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(keyring.unseal(place(), &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn equal_secrets_never_look_equal() {
        let keyring = Keyring::new([1; 32]);
        assert_ne!(keyring.seal(place(), "key").unwrap(), keyring.seal(place(), "key").unwrap());
    }

    #[test]
    fn lookup_is_hmac_sha256_under_a_key_of_its_own() {
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
