//! What is: the engine publishes one [`ProjectStatus`] per live project, the newest replaces the last.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::spec::{DestinationId, ProjectId, StreamId};

/// The whole truth about a live project at one moment. A project without a broadcast has no status.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectStatus {
    /// The project.
    pub project: ProjectId,
    /// Its running stream.
    pub stream: StreamStatus,
    /// One entry per destination of the spec.
    pub relays: BTreeMap<DestinationId, RelayStatus>,
    /// One entry per destination with a backup server: the relay to that.
    pub backups: BTreeMap<DestinationId, RelayStatus>,
}

/// The incoming side.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamStatus {
    /// The stream, as the history knows it.
    pub id: StreamId,
    /// Whether an encoder is connected right now.
    pub phase: StreamPhase,
    /// When the stream began.
    pub started_at: SystemTime,
    /// What the video is, once its codec header came.
    pub video: Option<VideoStatus>,
    /// What the audio is, once its codec header or first frame came.
    pub audio: Option<AudioStatus>,
    /// Bytes of media received since the start.
    pub received_bytes: u64,
    /// How fast media comes by the wall clock, over the last 18 s, in percent: 100 keeps up. `None` for the first 15 s of an
    /// encoder, and while none is there.
    pub speed_percent: Option<u32>,
    /// Bytes of media that are held for readers.
    pub ring_bytes: usize,
    /// Whether there is something to fetch for HLS players.
    pub hls_ready: bool,
    /// What was repaired, left out or cannot be previewed since the stream began, and what is too slow now, oldest first; one
    /// entry per code.
    pub notices: Vec<Notice>,
}

/// Something about a stream that its owner should know: what was seen, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable, for programs: `clock_drift`, `start_codes`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// When it was first seen.
    pub since: SystemTime,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StreamPhase {
    /// An encoder sends.
    Live,
    /// The encoder dropped; destinations are held until the given moment.
    Reconnecting {
        /// When the wait ends and the stream with it.
        until: SystemTime,
    },
    /// The encoder is done; destinations with a delay still get the rest.
    Ending {
        /// When the last of them has it.
        until: SystemTime,
    },
}

/// What is live, in so far as the history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveStream {
    /// The project.
    pub project: ProjectId,
    /// The stream.
    pub stream: StreamId,
    /// When it began.
    pub started_at: SystemTime,
    /// The encoder is away, and waited for.
    pub reconnecting: bool,
    /// Since when it is, or is not.
    pub since: SystemTime,
}

/// The incoming video, measured over the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoStatus {
    /// `h264`, `hevc`, `av1`, ...
    pub codec: &'static str,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Frames per second, measured.
    pub fps: Option<f64>,
    /// Kilobits per second, measured.
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
    /// Channels.
    pub channels: Option<u8>,
    /// Kilobits per second, measured.
    pub kbps: u32,
}

/// One relay.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayStatus {
    /// Where it stands.
    pub state: RelayState,
    /// Since when.
    pub since: SystemTime,
    /// How many connections were tried since the relay was last live for a minute; 0 before the first.
    pub attempt: u32,
    /// When it tries again, in `Backoff` and `Rejected`.
    pub next_attempt_at: Option<SystemTime>,
    /// Why the last connection ended or failed; in `Degraded`, why it falls behind.
    pub last_error: Option<RelayError>,
    /// Bytes of RTMP sent since the relay began.
    pub sent_bytes: u64,
    /// Kilobits per second over the last seconds.
    pub kbps: u32,
    /// How much later than it comes the destination gets the stream, in ms. It differs from the owner's wish until a change
    /// reaches its keyframe, and when there is no room to keep that much of the stream.
    pub delay_ms: u32,
    /// How far behind the newest packet that is due the relay is, in ms.
    pub lag_ms: u32,
    /// How long the way to the platform and back is, in ms, where the kernel tells.
    pub rtt_ms: Option<f64>,
    /// Video frames skipped because the destination was too slow.
    pub dropped_frames: u64,
    /// How often it had to connect again after being live.
    pub reconnects: u32,
    /// The same by the code of what ended the connection before.
    pub reconnects_by: BTreeMap<&'static str, u32>,
}

impl RelayStatus {
    /// A relay that is not wanted.
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

/// The states of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayState {
    /// Not wanted.
    Off,
    /// Wanted, and waits for the encoder.
    Waiting,
    /// Resolving, connecting, shaking hands, asking to publish.
    Connecting,
    /// The platform accepted and bytes leave.
    Live,
    /// The platform takes the stream, but not all of it: the relay falls behind, and skips up to keyframes.
    Degraded,
    /// Connected, but bytes stopped leaving.
    Stalled,
    /// Waits before it tries again.
    Backoff,
    /// The platform said no; tries again slowly.
    Rejected,
}

impl RelayState {
    /// Whether the platform takes the stream, or did a moment ago.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Live | Self::Degraded | Self::Stalled)
    }

    /// The word of the contract.
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

/// Why a relay is not live: a stable code and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayError {
    /// Stable, for programs: `dns`, `refused`, `key_rejected`, ...
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a stream is fetched from another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullStatus {
    /// Where it stands.
    pub state: PullState,
    /// How often the stream began to come.
    pub plays: u64,
    /// Why the last connection failed or ended.
    pub last_error: Option<RelayError>,
}

/// Where a pull stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullState {
    /// Nobody publishes there, or an encoder publishes here.
    #[default]
    Waiting,
    /// The stream comes.
    Live,
    /// There is no connection, or the stream is not taken; tries again.
    Failing,
}

impl PullState {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Failing => "failing",
        }
    }
}

/// One step of trying a destination out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStep {
    /// `resolve`, `connect`, `tls`, `handshake`, `rtmp_connect` or `create_stream`.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; no step follows then.
    pub error: Option<RelayError>,
}
