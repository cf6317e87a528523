//! The secret key: 32 bytes that print as `****`.

use std::{fmt, io, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// 32 bytes that sign tokens and seal destination keys; prints as `****`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl SecretKey {
    /// A new one.
    pub(crate) fn random() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    /// As it stands in its file.
    pub(crate) fn encoded(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// Where the 32 secret bytes come from.
#[derive(Clone, Debug)]
pub enum SecretKeySource {
    /// Given as a setting, decoded.
    Given(SecretKey),
    /// In a file that the operator keeps.
    File(PathBuf),
    /// In `data_dir/secret.key`, made on first start.
    DataDir,
}
