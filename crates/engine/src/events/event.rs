//! What can happen to a stream and its relays.

use std::time::SystemTime;

use crate::{
    spec::{ProjectId, RelayId, StreamId},
    status::{Notice, RelayError, RelayState},
};

/// What the engine tells the history; a full queue drops and counts.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub enum EngineEvent {
    /// A broadcast began.
    StreamStarted { project: ProjectId, stream: StreamId, at: SystemTime },
    /// The encoder dropped or came back.
    StreamPhase { project: ProjectId, stream: StreamId, at: SystemTime, reconnecting: bool },
    /// Something was repaired, left out, cannot be previewed, or became too slow; each time it begins.
    StreamNotice { project: ProjectId, stream: StreamId, notice: Notice },
    /// A relay entered another state, and why if something went wrong.
    RelayChanged {
        project: ProjectId,
        stream: StreamId,
        relay: RelayId,
        at: SystemTime,
        state: RelayState,
        error: Option<RelayError>,
    },
    /// A relay is over.
    RelayEnded { project: ProjectId, stream: StreamId, relay: RelayId, at: SystemTime, totals: RelayTotals },
    /// A broadcast ended.
    StreamEnded { project: ProjectId, stream: StreamId, at: SystemTime, reason: EndReason },
}

impl EngineEvent {
    /// The stream that it is about.
    pub const fn stream(&self) -> StreamId {
        match *self {
            Self::StreamStarted { stream, .. }
            | Self::StreamPhase { stream, .. }
            | Self::StreamNotice { stream, .. }
            | Self::RelayChanged { stream, .. }
            | Self::RelayEnded { stream, .. }
            | Self::StreamEnded { stream, .. } => stream,
        }
    }

    /// The project that it is about.
    pub const fn project(&self) -> ProjectId {
        match *self {
            Self::StreamStarted { project, .. }
            | Self::StreamPhase { project, .. }
            | Self::StreamNotice { project, .. }
            | Self::RelayChanged { project, .. }
            | Self::RelayEnded { project, .. }
            | Self::StreamEnded { project, .. } => project,
        }
    }

    /// Whether the history is whole without it: it is not about the stream itself.
    pub(super) const fn is_detail(&self) -> bool {
        matches!(self, Self::StreamNotice { .. } | Self::RelayChanged { .. } | Self::RelayEnded { .. })
    }
}

/// What a relay did from its beginning to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayTotals {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Video frames skipped because the platform was too slow.
    pub dropped_frames: u64,
    /// How often it connected again after being live.
    pub reconnects: u32,
}

/// Why a broadcast ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The encoder said goodbye. `encoder_stopped`
    EncoderStopped,
    /// The encoder dropped and did not return within the grace time. `encoder_lost`
    EncoderLost,
    /// The encoder sent more than it may, for too long. `too_fast`
    TooFast(Excess),
    /// The owner ended it, deleted the project or rotated the key. `ended_by_owner`
    EndedByOwner,
    /// The server is stopping. `server_stopped`
    ServerStopped,
}

impl EndReason {
    /// The word that the history and the API use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EncoderStopped => "encoder_stopped",
            Self::EncoderLost => "encoder_lost",
            Self::TooFast(_) => "too_fast",
            Self::EndedByOwner => "ended_by_owner",
            Self::ServerStopped => "server_stopped",
        }
    }

    /// What its owner should know and do, where the word alone does not say it.
    pub fn advice(self) -> Option<String> {
        match self {
            Self::TooFast(Excess::Bitrate { allowed_kbps }) => Some(format!(
                "The stream came faster than the {allowed_kbps} kbit/s that this server allows. Lower the bitrate in your \
                 encoder, and start again in a minute."
            )),
            Self::TooFast(Excess::Messages { allowed_per_second }) => Some(format!(
                "The stream came in more than {allowed_per_second} messages a second for too long; encoders send fewer than \
                 300. Look for an update of your encoder, and start again in a minute."
            )),
            _ => None,
        }
    }
}

/// What a stream sent too much of, and what it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Bits.
    #[error("more than {allowed_kbps} kbit/s came")]
    Bitrate {
        /// In kbit/s.
        allowed_kbps: u32,
    },
    /// Messages, of any length.
    #[error("more than {allowed_per_second} messages a second came")]
    Messages {
        /// A second.
        allowed_per_second: u32,
    },
}
