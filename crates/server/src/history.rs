//! The history writer: what the engine says becomes rows, in order.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gostream_engine::{
    engine::EngineEvent,
    events::EventReceiver,
    spec::{RelayId, StreamId},
    status::RelayState,
};
use gostream_store::{Error, NewStreamEvent, Store, StreamStatus};
use time::OffsetDateTime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{metrics::Metrics, reconcile::Wakes};

/// Of one stream so much is kept: a destination that fails every few seconds for a day must not fill the disk.
pub(crate) const EVENTS_MAX: usize = 1_000;
/// Of those, what relays do leaves so much to the stream itself and to how relays ended.
const EVENTS_RESERVED: usize = 200;
/// So often the database may refuse an event while it answers otherwise; that is no outage, and the next ones wait.
const TRIES_MAX: u32 = 5;
/// A database that takes longer for one event has stopped answering, and the connection with it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes what happens into the database.
pub(crate) struct Writer {
    store: Store,
    node: String,
    wakes: Arc<Wakes>,
    metrics: Arc<Metrics>,
    /// Events kept of each running stream.
    kept: HashMap<StreamId, usize>,
}

impl Writer {
    /// A writer for the streams of this node.
    pub(crate) fn new(store: Store, node: String, wakes: Arc<Wakes>, metrics: Arc<Metrics>) -> Self {
        Self { store, node, wakes, metrics, kept: HashMap::new() }
    }

    /// Writes events until the engine is gone, or until `stop`, after which it writes what is left and returns.
    pub(crate) async fn run(mut self, mut events: EventReceiver, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                // Nothing is waiting, and after the stop nothing comes.
                () = stop.cancelled() => None,
            };
            let Some(event) = event else { return };
            // Rows that changed between the admission and the start were missed by everyone.
            if let EngineEvent::StreamStarted { project, .. } = &event {
                self.wakes.wake(project.0);
            }
            if let EngineEvent::RelayChanged { error: Some(error), .. } = &event {
                self.metrics.relay_failed(error.code);
            }
            let happened = self.has_room(&event).then(|| happened(&event)).flatten();
            self.write_patiently(&event, happened, &stop).await;
        }
    }

    /// Whether the stream's timeline takes one more. Its own events and the ends of relays always find room.
    fn has_room(&mut self, event: &EngineEvent) -> bool {
        let (stream, max) = match *event {
            EngineEvent::StreamStarted { stream, .. } => {
                self.kept.insert(stream, 0);
                (stream, EVENTS_MAX)
            }
            EngineEvent::StreamEnded { stream, .. } => {
                self.kept.remove(&stream);
                return true;
            }
            EngineEvent::RelayChanged { stream, .. } | EngineEvent::StreamNotice { stream, .. } => {
                (stream, EVENTS_MAX - EVENTS_RESERVED)
            }
            EngineEvent::StreamPhase { stream, .. } | EngineEvent::RelayEnded { stream, .. } => {
                (stream, EVENTS_MAX - 1)
            }
        };
        // A relay may say goodbye for longer than its stream is counted.
        let Some(kept) = self.kept.get_mut(&stream) else { return true };
        let has_room = *kept < max;
        *kept += usize::from(has_room);
        has_room
    }

    async fn write_patiently(&self, event: &EngineEvent, happened: Option<NewStreamEvent>, stop: &CancellationToken) {
        let mut tries = 0;
        while tries < TRIES_MAX {
            match timeout(WRITE_TIMEOUT, self.write_once(event, happened.clone())).await {
                Ok(Ok(())) => return,
                // The project was deleted, and its history with it.
                Ok(Err(Error::NotFound)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "The history could not be written."),
                Err(_) => tracing::warn!("The history could not be written: the database does not answer."),
            }
            // While the database is away events wait for it, however long that takes; the channel bounds how many.
            let answers = timeout(WRITE_TIMEOUT, self.store.ping()).await.is_ok_and(|answer| answer.is_ok());
            tries += u32::from(answers);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        tracing::error!(?event, "The history lost an event: the database did not take it.");
    }

    async fn write_once(&self, event: &EngineEvent, happened: Option<NewStreamEvent>) -> Result<(), Error> {
        match *event {
            EngineEvent::StreamStarted { project, stream, at } => {
                self.store.start_stream(stream.0, project.0, &self.node, wall(at)).await?;
            }
            EngineEvent::StreamPhase { stream, reconnecting, .. } => {
                let status = if reconnecting { StreamStatus::Reconnecting } else { StreamStatus::Live };
                self.store.set_stream_status(stream.0, status).await?;
            }
            EngineEvent::StreamEnded { stream, at, reason, .. } => {
                self.store.end_stream(stream.0, wall(at), reason.name()).await?;
            }
            EngineEvent::RelayChanged { .. } | EngineEvent::RelayEnded { .. } | EngineEvent::StreamNotice { .. } => {}
        }
        match happened {
            Some(happened) => self.store.add_stream_event(happened).await,
            None => Ok(()),
        }
    }
}

/// The line of the timeline that an event is worth.
fn happened(event: &EngineEvent) -> Option<NewStreamEvent> {
    let line = |stream: StreamId, at, relay: Option<RelayId>, state| NewStreamEvent {
        // Made here, so that writing it twice is writing it once.
        id: Uuid::now_v7(),
        stream_id: stream.0,
        at: wall(at),
        relay: relay.map(|relay| (relay.destination.0, relay.leg.name())),
        state,
        code: None,
        message: None,
        sent_bytes: None,
        dropped_frames: None,
    };
    Some(match event {
        EngineEvent::StreamStarted { stream, at, .. } => line(*stream, *at, None, "live"),
        EngineEvent::StreamPhase { stream, at, reconnecting, .. } => {
            line(*stream, *at, None, if *reconnecting { "reconnecting" } else { "live" })
        }
        EngineEvent::StreamEnded { stream, at, reason, .. } => {
            let (code, message) = (Some(reason.name().to_owned()), reason.advice());
            NewStreamEvent { code, message, ..line(*stream, *at, None, "ended") }
        }
        EngineEvent::StreamNotice { stream, notice, .. } => NewStreamEvent {
            code: Some(notice.code.to_owned()),
            message: Some(notice.message.clone()),
            ..line(*stream, notice.since, None, "notice")
        },
        EngineEvent::RelayChanged { stream, relay, at, state, error, .. } => {
            // Its end is told with what it did.
            if *state == RelayState::Off {
                return None;
            }
            let (code, message) = error.as_ref().map(|error| (error.code.to_owned(), error.message.clone())).unzip();
            NewStreamEvent { code, message, ..line(*stream, *at, Some(*relay), state.name()) }
        }
        EngineEvent::RelayEnded { stream, relay, at, totals, .. } => NewStreamEvent {
            sent_bytes: Some(totals.sent_bytes),
            dropped_frames: Some(totals.dropped_frames),
            ..line(*stream, *at, Some(*relay), RelayState::Off.name())
        },
    })
}

fn wall(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(at)
}

#[cfg(test)]
mod tests {
    use gostream_engine::{spec::ProjectId, status::Notice};

    use super::*;

    #[test]
    fn a_notice_is_a_line_of_its_stream_with_code_and_message() {
        let (project, stream) = (ProjectId(Uuid::nil()), StreamId(Uuid::from_u128(1)));
        let notice =
            Notice { code: "clock_drift", message: "Set one clock.".to_owned(), since: SystemTime::UNIX_EPOCH };
        let line = happened(&EngineEvent::StreamNotice { project, stream, notice }).expect("is kept");
        assert_eq!((line.stream_id, line.at, line.relay), (stream.0, OffsetDateTime::UNIX_EPOCH, None));
        assert_eq!(
            (line.state, line.code.as_deref(), line.message.as_deref()),
            ("notice", Some("clock_drift"), Some("Set one clock."))
        );
    }
}
