//! Events of streams and relays.

use std::time::SystemTime;

use crate::{
    spec::{ProjectId, RelayId, StreamId},
    status::{Notice, RelayError, RelayState},
};

/// Events that the engine reports to the history. When the queue is full, events are dropped and counted.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub enum EngineEvent {
    /// A broadcast began.
    StreamStarted { project: ProjectId, stream: StreamId, at: SystemTime },
    /// The encoder dropped or came back.
    StreamPhase { project: ProjectId, stream: StreamId, at: SystemTime, reconnecting: bool },
    /// A notice began: something was repaired, left out, cannot be previewed, or became too slow.
    StreamNotice { project: ProjectId, stream: StreamId, notice: Notice },
    /// A relay entered another state; with the reason if something failed.
    RelayChanged {
        project: ProjectId,
        stream: StreamId,
        relay: RelayId,
        at: SystemTime,
        state: RelayState,
        error: Option<RelayError>,
    },
    /// A relay ended.
    RelayEnded { project: ProjectId, stream: StreamId, relay: RelayId, at: SystemTime, totals: RelayTotals },
    /// A broadcast ended.
    StreamEnded { project: ProjectId, stream: StreamId, at: SystemTime, reason: EndReason },
}

impl EngineEvent {
    /// The stream that the event belongs to.
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

    /// The project that the event belongs to.
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

    /// Whether the history is complete without it: the event is not about the stream itself.
    pub(super) const fn is_detail(&self) -> bool {
        matches!(self, Self::StreamNotice { .. } | Self::RelayChanged { .. } | Self::RelayEnded { .. })
    }
}

/// Totals of a relay, from its start to its end.
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
    /// The encoder exceeded an ingest limit for too long. `too_fast`
    TooFast(Excess),
    /// The owner ended it, deleted the project or rotated the key. `ended_by_owner`
    EndedByOwner,
    /// The server is stopping. `server_stopped`
    ServerStopped,
}

impl EndReason {
    /// Its name in the history and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EncoderStopped => "encoder_stopped",
            Self::EncoderLost => "encoder_lost",
            Self::TooFast(_) => "too_fast",
            Self::EndedByOwner => "ended_by_owner",
            Self::ServerStopped => "server_stopped",
        }
    }

    /// An explanation for the owner with what to do, where the name alone is not enough.
    pub fn advice(self) -> Option<String> {
        match self {
            Self::TooFast(Excess::Bitrate { allowed_kbps }) => Some(format!(
                "The stream was faster than the {allowed_kbps} kbit/s that this server allows. Lower the bitrate in \
                 your encoder, and start again in a minute."
            )),
            Self::TooFast(Excess::Messages { allowed_per_second }) => Some(format!(
                "The stream had more than {allowed_per_second} messages a second for too long; encoders send fewer \
                 than 300. Look for an update of your encoder, and start again in a minute."
            )),
            _ => None,
        }
    }
}

/// Which ingest limit a stream exceeded, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// The bitrate.
    #[error("more than {allowed_kbps} kbit/s arrived")]
    Bitrate {
        /// In kbit/s.
        allowed_kbps: u32,
    },
    /// The number of messages, whatever their length.
    #[error("more than {allowed_per_second} messages per second arrived")]
    Messages {
        /// Messages per second.
        allowed_per_second: u32,
    },
}
