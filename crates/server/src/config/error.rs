//! Why the settings cannot be used.

use std::{io, path::PathBuf};

use super::source::Source;

/// An error in the settings: one line that names the setting and its valid values.
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
    /// A variable with the `GOSTREAM_` prefix is not a setting.
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
        /// The source of the value.
        from: Source,
        /// The valid values.
        takes: &'static str,
        /// The value; `None` if it is a secret.
        value: Option<String>,
    },
    /// Settings that require or exclude each other.
    #[error("{0}")]
    Together(&'static str),
    /// The file cannot be read.
    #[error("--config takes a readable file; {} cannot be read: {source}.", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is not valid TOML.
    #[error("{}, line {line}: {message}.", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// The message of the parser, without its excerpt of the file.
        message: String,
    },
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(", not `{}`", value.escape_debug())).unwrap_or_default()
}
