//! Current state: the engine publishes one [`ProjectStatus`] per live project; the newest replaces the previous one.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::spec::{DestinationId, ProjectId, StreamId};

/// The complete status of a live project at one moment. A project without a broadcast has no status.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectStatus {
    /// The project.
    pub project: ProjectId,
    /// Its running stream.
    pub stream: StreamStatus,
    /// One entry per destination of the spec.
    pub relays: BTreeMap<DestinationId, RelayStatus>,
    /// One entry per destination with a backup server: the relay to the backup server.
    pub backups: BTreeMap<DestinationId, RelayStatus>,
}

/// The incoming side.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamStatus {
    /// The id of the stream in the history.
    pub id: StreamId,
    /// Whether an encoder is connected.
    pub phase: StreamPhase,
    /// When the stream began.
    pub started_at: SystemTime,
    /// The video format, once a codec header arrived.
    pub video: Option<VideoStatus>,
    /// The audio format, once a codec header or the first frame arrived.
    pub audio: Option<AudioStatus>,
    /// Bytes of media received since the start.
    pub received_bytes: u64,
    /// Media time relative to wall-clock time over the last 18 s, in percent: at 100 the encoder keeps up. `None` for
    /// the first 15 s of an encoder, and while none is connected.
    pub speed_percent: Option<u32>,
    /// Bytes of media held for readers.
    pub ring_bytes: usize,
    /// Whether HLS players can fetch a playlist.
    pub hls_ready: bool,
    /// Notices about repairs, omissions and missing previews since the stream began, and about what is currently too
    /// slow; oldest first, one entry per code.
    pub notices: Vec<Notice>,
}

/// Something about a stream that its owner should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable, for programs: `clock_drift`, `start_codes`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// When it was first noticed.
    pub since: SystemTime,
}

/// The phase of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StreamPhase {
    /// An encoder is connected.
    Live,
    /// The encoder dropped; destinations stay connected until the given time.
    Reconnecting {
        /// When the grace time and the stream end.
        until: SystemTime,
    },
    /// The encoder ended the stream; destinations with a delay still get the rest.
    Ending {
        /// When the last destination has received everything.
        until: SystemTime,
    },
}

/// A live stream, with the fields that the history stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveStream {
    /// The project.
    pub project: ProjectId,
    /// The stream.
    pub stream: StreamId,
    /// When it began.
    pub started_at: SystemTime,
    /// The encoder dropped and may come back.
    pub reconnecting: bool,
    /// When `reconnecting` last changed.
    pub since: SystemTime,
}

/// The incoming video, measured over the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoStatus {
    /// `h264`, `hevc`, `av1`, ...
    pub codec: &'static str,
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// Measured frames per second.
    pub fps: Option<f64>,
    /// Measured bitrate in kbit/s.
    pub kbps: u32,
    /// Seconds between the last two keyframes.
    pub keyframe_seconds: Option<f64>,
}

/// The incoming audio, measured over the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioStatus {
    /// `aac`, `mp3`, `opus`, ...
    pub codec: &'static str,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// Number of channels.
    pub channels: Option<u8>,
    /// Measured bitrate in kbit/s.
    pub kbps: u32,
}

/// The status of one relay.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayStatus {
    /// Its state.
    pub state: RelayState,
    /// When it entered the state.
    pub since: SystemTime,
    /// Connection attempts since the relay was last live for a minute; 0 before the first.
    pub attempt: u32,
    /// The next attempt, in `Backoff` and `Rejected`.
    pub next_attempt_at: Option<SystemTime>,
    /// Why the last connection ended or failed; in `Degraded`, why the relay is late.
    pub last_error: Option<RelayError>,
    /// Bytes of RTMP sent since the relay began.
    pub sent_bytes: u64,
    /// Kilobits per second over the last seconds.
    pub kbps: u32,
    /// How much later than it arrives the destination gets the stream, in ms. Differs from the setting until a change
    /// reaches its keyframe, and when there is no room to keep that much of the stream.
    pub delay_ms: u32,
    /// How late the relay is, in ms, compared with the newest packet that is due.
    pub lag_ms: u32,
    /// Round-trip time to the platform in ms, where the kernel reports it.
    pub rtt_ms: Option<f64>,
    /// Video frames skipped because the destination was too slow.
    pub dropped_frames: u64,
    /// How often the relay connected again after being live.
    pub reconnects: u32,
    /// `reconnects` by the code of the error that ended the previous connection.
    pub reconnects_by: BTreeMap<&'static str, u32>,
}

impl RelayStatus {
    /// The status of a disabled relay.
    pub fn off(since: SystemTime) -> Self {
        Self {
            state: RelayState::Off,
            since,
            attempt: 0,
            next_attempt_at: None,
            last_error: None,
            sent_bytes: 0,
            kbps: 0,
            delay_ms: 0,
            lag_ms: 0,
            rtt_ms: None,
            dropped_frames: 0,
            reconnects: 0,
            reconnects_by: BTreeMap::new(),
        }
    }
}

/// The relay states of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayState {
    /// Disabled.
    Off,
    /// Enabled; waits for the encoder.
    Waiting,
    /// Resolving, connecting, handshaking, or requesting to publish.
    Connecting,
    /// The platform accepted the stream and acknowledges bytes.
    Live,
    /// The platform takes the stream too slowly: the relay is late and skips up to keyframes.
    Degraded,
    /// Connected, but the platform acknowledges no bytes.
    Stalled,
    /// Waits before the next attempt.
    Backoff,
    /// The platform refused the stream; attempts continue at longer intervals.
    Rejected,
}

impl RelayState {
    /// Whether a connection to the platform is open.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Live | Self::Degraded | Self::Stalled)
    }

    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Degraded => "degraded",
            Self::Stalled => "stalled",
            Self::Backoff => "backoff",
            Self::Rejected => "rejected",
        }
    }
}

/// Why a relay is not live: a stable code, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayError {
    /// Stable, for programs: `dns`, `refused`, `key_rejected`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The status of a pull: a stream that is fetched from another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullStatus {
    /// Its state.
    pub state: PullState,
    /// How often the stream started to arrive.
    pub plays: u64,
    /// Why the last connection failed or ended.
    pub last_error: Option<RelayError>,
}

/// The states of a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullState {
    /// The stream is not published on the other server, or an encoder publishes here.
    #[default]
    Waiting,
    /// The stream arrives.
    Live,
    /// No connection, or this server refused the stream; attempts continue.
    Failing,
}

impl PullState {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Failing => "failing",
        }
    }
}

/// One step of a test of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStep {
    /// `resolve`, `connect`, `tls`, `handshake`, `rtmp_connect` or `create_stream`.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; no further step follows.
    pub error: Option<RelayError>,
}
