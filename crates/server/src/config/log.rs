//! Settings of the log.

/// Format and level of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format; `None` means text on a terminal and JSON otherwise.
    pub format: Option<LogFormat>,
    /// Filter directives such as `info` or `gostream=debug`.
    pub level: String,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}
