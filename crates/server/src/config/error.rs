//! Why the settings cannot be used.

use std::{io, path::PathBuf};

use super::source::Source;

/// One line that names the setting and what it takes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file names a key that does not exist.
    #[error("{}: `{key}` is not a setting; `gostream --help` lists them all.", file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key as written.
        key: String,
    },
    /// A variable with our prefix is none of ours.
    #[error("{name} is not a setting; `gostream --help` lists them all.")]
    UnknownVariable {
        /// The variable.
        name: String,
    },
    /// A value that does not parse.
    #[error("{key} (from {from}) takes {takes}{}.", shown(value))]
    Value {
        /// The setting.
        key: &'static str,
        /// Where the value came from.
        from: Source,
        /// What the setting takes.
        takes: &'static str,
        /// The value, unless it is a secret.
        value: Option<String>,
    },
    /// Settings that only make sense together.
    #[error("{0}")]
    Together(&'static str),
    /// The file cannot be read.
    #[error("--config takes a readable file; {} cannot be read: {source}.", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {message}.", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says, without its picture.
        message: String,
    },
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(", not `{}`", value.escape_debug())).unwrap_or_default()
}
