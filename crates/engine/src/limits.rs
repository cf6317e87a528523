//! Bounds and deadlines of the data plane, each with its reason.

use std::time::Duration;

use gostream_net::connection_limiter::ConnectionLimits;

/// Resource limits for peers. The defaults allow a school behind one address and refuse a flood; tests use tighter
/// ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Numbers of connections.
    pub connections: ConnectionLimits,
    /// For the handshake, from the first byte. Slow links take a second.
    pub handshake: Duration,
    /// From the connection to a request to publish or play.
    pub request: Duration,
    /// A publisher that sends nothing for this long counts as gone. A live encoder sends many times a second.
    pub silence: Duration,
    /// How long a write may make no progress.
    pub write: Duration,
    /// Maximum bitrate of a stream in kbit/s; `None` for no limit.
    pub ingest_kbps: Option<u32>,
    /// Maximum media messages of a stream per second. Encoders send fewer than 300; eight slices per picture and six
    /// audio tracks make 800.
    pub ingest_messages: u32,
    /// Live projects of one account at the same time.
    pub live_per_account: usize,
    /// How often streams may start.
    pub starts: StartLimits,
}

/// The maximum rates of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// In kbit/s; `None` for no limit.
    pub(crate) kbps: Option<u32>,
    /// Messages per second. Each message costs memory and time, however short it is.
    pub(crate) messages: u32,
}

/// How often streams may start: a number at once, and then one per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartRate {
    /// Number of starts at once.
    pub burst: u32,
    /// Time per further start.
    pub interval: Duration,
}

impl Limits {
    /// The maximum rates of one stream.
    pub(crate) fn ingest(&self) -> Allowed {
        Allowed { kbps: self.ingest_kbps, messages: self.ingest_messages }
    }
}

/// How often streams may start. Every publish counts, also a takeover or a return.
#[derive(Clone, Copy, Debug)]
pub struct StartLimits {
    /// For one project. An encoder on a bad network comes back ten times a minute.
    pub per_key: StartRate,
    /// For one account. All its encoders come back at once after the server restarted.
    pub per_account: StartRate,
}

impl Default for StartLimits {
    fn default() -> Self {
        Self {
            per_key: StartRate { burst: 20, interval: Duration::from_secs(3) },
            per_account: StartRate { burst: 100, interval: Duration::from_secs(1) },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits {
                waiting: 1_024,
                waiting_per_address: 64,
                connections: usize::MAX,
                connections_per_address: 1_024,
                // Proxies count here only until their PROXY header arrived, the first bytes that they send.
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

/// How long a refused client gets to read the reason: OBS shows it only if it arrives before the close.
pub const REFUSAL_LINGER: Duration = Duration::from_millis(1_500);

/// Bytes of one read from a socket: large enough for many chunks, small enough to hold for every connection.
pub const READ_BYTES: usize = 32 * 1024;

/// Bytes of one read before a connection is admitted: enough for a handshake, and many unadmitted connections cost
/// little memory.
pub const READ_BYTES_UNADMITTED: usize = 4 * 1024;

/// Bytes taken from the ring before the socket has taken the previous ones. Less would cost system calls; more would
/// hide a slow destination from the ring, which alone decides what is skipped.
pub const OUTBOX_BYTES: usize = 256 * 1024;
