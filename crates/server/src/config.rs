//! Settings: flag, then environment, then `gostream.toml`, then default.
//!
//! [`SETTINGS`] is the one table of what can be set; everything else here reads it. Values are collected as text with
//! the place they came from, then parsed once into [`Settings`], which the rest of the program gets by value.

use std::path::Path;

mod env;
mod error;
mod file;
mod log;
mod parse;
mod secret_key;
mod settings;
mod signup;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod value;
mod values;

pub(crate) use self::value::secret_key as parse_secret_key;
use self::values::Values;
pub use self::{
    error::Error,
    log::{LogFormat, LogSettings},
    secret_key::{SecretKey, SecretKeySource},
    settings::{Quota, Settings},
    signup::Signup,
    source::Source,
    table::{SETTINGS, Setting},
    tls::{Acme, Tls, TlsFiles},
};

/// Collects and parses everything. `flags` holds the flags that were given, by setting key.
pub fn load(
    flags: impl IntoIterator<Item = (&'static str, String)>,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Error> {
    let mut values = Values::default();
    // The weakest first: what comes later replaces it.
    file::read(file, &mut values)?;
    env::read(env, &mut values)?;
    for (key, text) in flags {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            values.put(setting, text, Source::Flag(setting.flag));
        }
    }
    values.parse()
}
