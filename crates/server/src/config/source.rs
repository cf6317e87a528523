//! The sources of settings: flag, environment variable, file or default.

use std::{fmt, path::PathBuf};

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command line flag, without its dashes.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// The settings file.
    File(PathBuf),
    /// The default: the setting is not given.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Env(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}
