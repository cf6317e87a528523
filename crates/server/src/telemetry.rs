//! Logging: one subscriber for the process, which writes text or JSON to standard error. Only its own thread waits for
//! the output.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use self::lines::Lines;
use crate::config::{LogFormat, LogSettings};

mod lines;

/// Limits for libraries that log every step at `info`, and values of statements at `trace`. `log.level` can override
/// them by name.
const QUIET: &str = "sea_orm=info,sea_orm_migration=warn,sqlx=warn";
/// How long the end of the process waits for queued lines. The output may not be read at all.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static LINES: LazyLock<Lines> = LazyLock::new(|| Lines::to(io::stderr(), loss_report));

/// Whether lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The line that reports the number of lost lines. It bypasses the queue, because it reports that the queue was full.
fn loss_report(lost: u64) -> String {
    const SENTENCE: &str = "Log lines were lost: the output was not read in time, or could not be written.";
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    match IS_JSON.load(Ordering::Relaxed) {
        true => format!("{}\n", json!({"timestamp": now, "level": "WARN", "message": SENTENCE, "lines": lost})),
        false => format!("{now}  WARN {SENTENCE} lines={lost}\n"),
    }
}

/// Installs the subscriber. Called once, by `main`.
pub fn init(settings: &LogSettings) {
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    // The settings were checked, so the fallback is never taken.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", settings.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let lines = fmt::layer().with_writer(LINES.clone());
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // The default hook writes to standard error directly.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let why = panic.payload_as_str().unwrap_or_default();
        let trace = std::backtrace::Backtrace::capture().to_string();
        tracing::error!(place, trace, "A task panicked: {why}");
    }));
}

/// Prints a text for the operator to the log's output.
pub fn print(text: &str) {
    LINES.push(text.as_bytes());
}

/// Waits at most one second until all queued text is written.
pub fn flush() {
    LINES.flush(FLUSH_TIMEOUT);
}

/// The number of lines lost since the start.
pub(crate) fn lost() -> u64 {
    LINES.lost()
}
