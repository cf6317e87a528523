//! Writes events into the database one after the other, and remembers what was written for each running stream.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gostream_engine::{
    EngineEvent,
    spec::{RelayId, StreamId},
    status::RelayState,
};
use gostream_store::{Error, HeartbeatSize, NewStreamEvent, Store, StreamStatus};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::line::{self, timeline_line, wall};
use crate::{control::wakes::Wakes, metrics::Metrics};

/// The most timeline lines of one stream. A destination that fails every few seconds for a day must not fill the disk.
pub(crate) const EVENTS_MAX: usize = 1_000;
/// Lines of these that are reserved for the stream's own events and the ends of relays.
const EVENTS_RESERVED: usize = 200;
/// How often an event may fail while the database answers otherwise. It is dropped then: this is not an outage, and
/// other events wait.
const TRIES_MAX: u32 = 5;
/// A database that takes longer for one event counts as unresponsive, and so does its connection.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes engine events into the database.
pub(crate) struct Writer {
    pub(super) store: Store,
    pub(super) node: String,
    pub(super) wakes: Arc<Wakes>,
    pub(super) metrics: Arc<Metrics>,
    /// What was written for each running stream.
    pub(super) written: HashMap<StreamId, Written>,
}

/// What was written for a stream, or left out on purpose.
#[derive(Debug)]
pub(super) struct Written {
    /// The number of timeline lines.
    lines: usize,
    /// Whether the last written status was `reconnecting`.
    reconnecting: bool,
    /// The last written state of each relay, and when the state began.
    pub(super) relays: HashMap<RelayId, (RelayState, SystemTime)>,
    /// The last time at which the stream was known to be live.
    pub(super) seen_at: SystemTime,
}

impl Writer {
    /// A writer for the streams of this node.
    pub(crate) fn new(store: Store, node: String, wakes: Arc<Wakes>, metrics: Arc<Metrics>) -> Self {
        Self { store, node, wakes, metrics, written: HashMap::new() }
    }

    /// Writes an event, and the start of its stream if that event was lost. Returns whether the database accepted it.
    pub(super) async fn take(&mut self, event: EngineEvent, stop: &CancellationToken) -> bool {
        let (project, stream) = (event.project(), event.stream());
        let begins = matches!(event, EngineEvent::StreamStarted { .. });
        if !begins && !self.written.contains_key(&stream) {
            let started = EngineEvent::StreamStarted { project, stream, at: line::started_at_of(stream) };
            self.write(&started, stop).await;
        }
        let written = self.written.get(&stream);
        match &event {
            // The phase did not change: the event in between was lost.
            EngineEvent::StreamPhase { reconnecting, .. }
                if written.is_some_and(|written| written.reconnecting == *reconnecting) =>
            {
                true
            }
            event => self.write(event, stop).await,
        }
    }

    pub(super) async fn write(&mut self, event: &EngineEvent, stop: &CancellationToken) -> bool {
        // Rows that changed between admission and start are read now; the stream was not running when they changed.
        if let EngineEvent::StreamStarted { project, .. } = event {
            self.wakes.stream_begins(project.0);
        }
        let timeline_line = self.has_room(event).then(|| timeline_line(event)).flatten();
        let is_taken = self.write_with_retries(event, timeline_line, stop).await;
        if let EngineEvent::StreamStarted { project, .. }
        | EngineEvent::StreamPhase { project, .. }
        | EngineEvent::StreamEnded { project, .. } = event
        {
            self.wakes.history_changed(project.0);
        }
        is_taken
    }

    /// Whether the stream's timeline has room for the event. Its own events and the ends of relays always have room.
    fn has_room(&mut self, event: &EngineEvent) -> bool {
        let stream = event.stream();
        let max = match *event {
            EngineEvent::StreamStarted { at, .. } => {
                let relays = HashMap::new();
                self.written.insert(stream, Written { lines: 0, reconnecting: false, relays, seen_at: at });
                EVENTS_MAX
            }
            EngineEvent::StreamEnded { .. } => {
                self.written.remove(&stream);
                return true;
            }
            EngineEvent::RelayChanged { .. } | EngineEvent::StreamNotice { .. } => EVENTS_MAX - EVENTS_RESERVED,
            EngineEvent::StreamPhase { .. } | EngineEvent::RelayEnded { .. } => EVENTS_MAX - 1,
        };
        let Some(written) = self.written.get_mut(&stream) else { return true };
        written.note(event);
        let has_room = written.lines < max;
        written.lines += usize::from(has_room);
        has_room
    }

    /// Retries a write. Returns whether the database accepted it, or the row that it belongs to was deleted.
    async fn write_with_retries(
        &self,
        event: &EngineEvent,
        timeline_line: Option<NewStreamEvent>,
        stop: &CancellationToken,
    ) -> bool {
        let mut tries = 0;
        while tries < TRIES_MAX {
            match timeout(WRITE_TIMEOUT, self.write_once(event, timeline_line.clone())).await {
                Ok(Ok(())) => return true,
                // The project was deleted, and its history with it.
                Ok(Err(Error::NotFound)) => return true,
                Ok(Err(error)) => tracing::warn!(%error, "The history could not be written."),
                Err(_) => tracing::warn!("The history could not be written: the database does not answer."),
            }
            // During an outage or while the disk is full, events wait for the database without a time limit. The queue
            // bounds their number.
            let written = timeout(WRITE_TIMEOUT, self.store.heartbeat(&self.node, HeartbeatSize::Large)).await;
            let answers = written.is_ok_and(|written| written.is_ok());
            tries += u32::from(answers);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        false
    }

    async fn write_once(&self, event: &EngineEvent, timeline_line: Option<NewStreamEvent>) -> Result<(), Error> {
        match *event {
            EngineEvent::StreamStarted { project, stream, at } => {
                self.store.start_stream(stream.0, project.0, &self.node, wall(at)).await?;
            }
            EngineEvent::StreamPhase { stream, reconnecting, .. } => {
                let status = if reconnecting { StreamStatus::Reconnecting } else { StreamStatus::Live };
                self.store.set_stream_status(stream.0, status).await?;
            }
            EngineEvent::StreamEnded { stream, at, reason, .. } => {
                self.store.end_stream(stream.0, wall(at), line::end_reason(reason)).await?;
            }
            EngineEvent::RelayChanged { .. } | EngineEvent::RelayEnded { .. } | EngineEvent::StreamNotice { .. } => {}
        }
        match timeline_line {
            Some(timeline_line) => self.store.add_stream_event(timeline_line).await,
            None => Ok(()),
        }
    }
}

impl Written {
    /// Remembers the state of stream and relays, whether or not there is room for a line.
    fn note(&mut self, event: &EngineEvent) {
        match *event {
            EngineEvent::StreamPhase { reconnecting, .. } => self.reconnecting = reconnecting,
            EngineEvent::RelayChanged { relay, state, at, .. } => drop(self.relays.insert(relay, (state, at))),
            EngineEvent::RelayEnded { relay, at, .. } => drop(self.relays.insert(relay, (RelayState::Off, at))),
            EngineEvent::StreamStarted { .. } | EngineEvent::StreamNotice { .. } | EngineEvent::StreamEnded { .. } => {}
        }
    }
}
