//! Settings of the log.

/// How and how much is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// One form or the other; `None` is text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// Filter directives such as `info` or `gostream=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}
