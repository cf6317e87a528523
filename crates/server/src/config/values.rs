//! The texts of settings, with their sources.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    error::Error,
    source::Source,
    table::{SETTINGS, Setting},
    value,
};

/// The texts of all given settings, with their sources.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(pub(super) BTreeMap<&'static str, (SecretString, Source)>);

impl Values {
    pub(super) fn put(&mut self, setting: &'static Setting, text: String, source: Source) {
        self.0.insert(setting.key, (text.into(), source));
    }

    /// Parses one value, if it was given.
    pub(super) fn take<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some((text, from)) = self.0.get(key) else { return Ok(None) };
        if let Some(value) = parse(text.expose_secret().trim()) {
            return Ok(Some(value));
        }
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let secret = setting.is_none_or(|setting| setting.secret);
        Err(Error::Value {
            key,
            from: from.clone(),
            takes: setting.map_or("another value", |setting| setting.takes),
            value: (!secret).then(|| value::shown(text.expose_secret())),
        })
    }
}
