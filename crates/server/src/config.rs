//! Settings. A flag overrides the environment, which overrides `gostream.toml`, which overrides the default.
//!
//! [`SETTINGS`] is the only list of settings; the rest of this module reads it. Values are collected as text together
//! with their source, then parsed once into [`Settings`], which the program passes by value.

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

/// Collects and parses all settings. `flags` contains the given flags by setting key.
pub fn load(
    flags: impl IntoIterator<Item = (&'static str, String)>,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Error> {
    let mut values = Values::default();
    // In order of increasing priority: a later value replaces an earlier one.
    file::read(file, &mut values)?;
    env::read(env, &mut values)?;
    for (key, text) in flags {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            values.put(setting, text, Source::Flag(setting.flag));
        }
    }
    values.parse()
}
