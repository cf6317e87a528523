//! Bounds and deadlines of the data plane, each with its reason.

use std::time::Duration;

use gostream_net::connection_limiter::ConnectionLimits;

/// What a peer may cost. The defaults hold a school on one address and refuse a flood; tests tighten them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections.
    pub places: ConnectionLimits,
    /// For the handshake, from the first byte on. Slow links take a second.
    pub handshake: Duration,
    /// From the connection to a request to publish or play.
    pub request: Duration,
    /// Silence of a publisher after which it is taken for gone. A live encoder sends many times a second.
    pub silence: Duration,
    /// How long a write may make no progress.
    pub write: Duration,
    /// How fast a stream may come, in kbit/s; `None` for as fast as it does.
    pub ingest_kbps: Option<u32>,
    /// How many messages of media a stream may send a second. Encoders send fewer than 300; eight slices a picture and six sound
    /// tracks make 800.
    pub ingest_messages: u32,
    /// Projects of one account that are live at a time.
    pub live_per_account: usize,
    /// How often streams may start.
    pub starts: StartLimits,
}

/// What a stream may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// In kbit/s; `None` for any bitrate.
    pub(crate) kbps: Option<u32>,
    /// Messages a second: each costs memory and time, however short it is.
    pub(crate) messages: u32,
}

/// How often something may happen: a number of times at once, and once in each interval after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At once.
    pub burst: u32,
    /// After that.
    pub interval: Duration,
}

impl Limits {
    /// What one stream may send.
    pub(crate) fn ingest(&self) -> Allowed {
        Allowed { kbps: self.ingest_kbps, messages: self.ingest_messages }
    }
}

/// How often streams may start: every publish counts, also one that takes over or comes back.
#[derive(Clone, Copy, Debug)]
pub struct StartLimits {
    /// Of one project. An encoder on a bad network comes back ten times a minute.
    pub per_key: RateLimit,
    /// Of one account. All its encoders come back at once after the server restarted.
    pub per_account: RateLimit,
}

impl Default for StartLimits {
    fn default() -> Self {
        Self {
            per_key: RateLimit { burst: 20, interval: Duration::from_secs(3) },
            per_account: RateLimit { burst: 100, interval: Duration::from_secs(1) },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: ConnectionLimits {
                waiting: 1_024,
                waiting_per_address: 64,
                connections: usize::MAX,
                connections_per_address: 1_024,
                // Only until their header came, which is the first that they send.
                proxies: 256,
            },
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(10),
            silence: Duration::from_secs(15),
            write: Duration::from_secs(15),
            ingest_kbps: None,
            ingest_messages: 1_000,
            live_per_account: usize::MAX,
            starts: StartLimits::default(),
        }
    }
}

/// How long a refused client gets to read why: OBS only shows the reason if it arrives before the close.
pub const REFUSAL_LINGER: Duration = Duration::from_millis(1_500);

/// One read from a socket. Large enough for many chunks, small enough to hold for every connection.
pub const READ_BYTES: usize = 32 * 1024;

/// The same before the connection was admitted: a handshake fits, and a crowd of strangers costs little.
pub const READ_BYTES_OF_STRANGERS: usize = 4 * 1024;

/// What is taken from the ring before the socket has taken what came before: less would cost system calls, more would hide
/// a slow destination from the ring, which alone decides what is skipped.
pub const OUTBOX_BYTES: usize = 256 * 1024;
