//! The way to the history writer: never waits, counts what is lost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::engine::EngineEvent;

/// Room that relays leave to streams: what relays did may be missing from a history, that a stream ended may not.
const RESERVED: usize = 64;

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
        let of_relay = matches!(event, EngineEvent::RelayChanged { .. } | EngineEvent::RelayEnded { .. });
        let reserved = if of_relay { RESERVED.min(self.events.max_capacity() / 2) } else { 0 };
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
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::{
        engine::RelayTotals,
        spec::{DestinationId, ProjectId, RelayId, StreamId},
    };

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
