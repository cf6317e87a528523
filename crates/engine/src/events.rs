//! What the history hears, and the way to it: never waits, counts what is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::mpsc;

use crate::{
    ingest::excess::Excess,
    spec::{ProjectId, RelayId, StreamId},
    status::{Notice, RelayError, RelayState},
};

/// Room that relays leave to streams: what relays did may be missing from a history, that a stream ended may not.
const RESERVED: usize = 64;

/// What the engine tells the history; a full channel drops and counts.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what they are called")]
pub enum EngineEvent {
    /// A broadcast began.
    StreamStarted { project: ProjectId, stream: StreamId, at: SystemTime },
    /// The encoder dropped or came back.
    StreamPhase { project: ProjectId, stream: StreamId, at: SystemTime, reconnecting: bool },
    /// Something was repaired, left out or cannot be previewed; once per code and stream.
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

/// Where the engine tells what happened.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    events: mpsc::Sender<EngineEvent>,
    lost: Arc<AtomicU64>,
}

impl EventSink {
    pub(crate) fn new(events: mpsc::Sender<EngineEvent>) -> Self {
        Self { events, lost: Arc::default() }
    }

    pub(crate) fn send(&self, event: EngineEvent) {
        let is_detail = !matches!(
            event,
            EngineEvent::StreamStarted { .. } | EngineEvent::StreamPhase { .. } | EngineEvent::StreamEnded { .. }
        );
        let reserved = if is_detail { RESERVED.min(self.events.max_capacity() / 2) } else { 0 };
        if self.events.capacity() <= reserved || self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!("The history missed an event; the database may be slow.");
        }
    }

    /// Events that found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::spec::DestinationId;

    #[tokio::test]
    async fn streams_find_room_when_relays_have_filled_theirs() {
        let (sender, mut receiver) = mpsc::channel(256);
        let sink = EventSink::new(sender);
        let (project, stream, at) = (ProjectId(Uuid::nil()), StreamId(Uuid::nil()), SystemTime::now());
        let relay = RelayId::primary(DestinationId(Uuid::nil()));
        for _ in 0..1_000 {
            sink.send(EngineEvent::RelayEnded { project, stream, relay, at, totals: RelayTotals::default() });
        }
        assert_eq!(sink.lost(), 1_000 - (256 - RESERVED) as u64);
        let started = EngineEvent::StreamStarted { project, stream, at };
        for _ in 0..RESERVED {
            sink.send(started.clone());
        }
        receiver.close();
        let mut last = None;
        while let Some(event) = receiver.recv().await {
            last = Some(event);
        }
        assert_eq!(last, Some(started));
        assert_eq!(sink.lost(), 1_000 - (256 - RESERVED) as u64);
    }
}
