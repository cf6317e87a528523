//! Peers for tests: an encoder and a platform that can misbehave, real programs (FFmpeg, nginx-rtmp, HAProxy,
//! PostgreSQL, pebble) as child processes, and clips.
//!
//! Everything listens on a free port of 127.0.0.1, except the far end of a [`link`], and stops when dropped. Every wait
//! has a deadline and panics with a description, so tests neither hang nor sleep.

pub mod certificate;
pub mod clip;
pub mod encoder;
pub mod haproxy;

pub mod link;
pub mod nginx;
pub mod pebble;
pub mod pgbouncer;
pub mod platform;
pub mod postgres;
pub mod process;
pub mod random;
pub mod script;
pub mod uplink;

use std::time::Duration;

/// The longest wait in a test: generous, since it only matters when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(40);
