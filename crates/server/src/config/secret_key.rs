//! The secret key: 32 bytes that are printed as `****`.

use std::{fmt, io, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// 32 bytes that sign tokens and encrypt destination keys. Printed as `****`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl SecretKey {
    /// A new random key. Fails if the system has no random source.
    pub(crate) fn random() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    /// The key in base64, as in its file.
    pub(crate) fn encoded(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// The source of the secret key.
#[derive(Clone, Debug)]
pub enum SecretKeySource {
    /// A setting, decoded.
    Given(SecretKey),
    /// A file that the operator provides.
    File(PathBuf),
    /// `data_dir/secret.key`, created on the first start.
    DataDir,
}
