//! Logs: one subscriber for the process, text or JSON, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{LogFormat, LogSettings};

/// Libraries that tell every step at `info`, and the values of statements at `trace`. Whoever wants to hear it names them in
/// `log.level`.
const QUIET: &str = "sea_orm=info,sea_orm_migration=warn,sqlx=warn";

/// Installs the subscriber. Called once, by `main`.
pub fn init(settings: &LogSettings) {
    let terminal = std::io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    // The settings were checked, so the fallback is never taken.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", settings.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
