//! The other side, for tests: an encoder and a platform of our own that can misbehave, real peers (FFmpeg, nginx-rtmp, HAProxy,
//! PostgreSQL, pebble) as child processes, and clips.
//!
//! Everything listens on 127.0.0.1 on a free port, but for what is at the other end of a [`link`], and ends when it is dropped. What waits has a deadline of its own and
//! panics with what it waited for, so that a test never hangs and never sleeps.

pub mod certificate;
pub mod clip;
pub mod encoder;
pub mod haproxy;
pub mod line;
pub mod link;
pub mod nginx;
pub mod pebble;
pub mod pgbouncer;
pub mod platform;
pub mod postgres;
pub mod process;
pub mod random;
pub mod script;

use std::time::Duration;

/// The longest any wait in a test may take: generous, since it only matters when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(40);
