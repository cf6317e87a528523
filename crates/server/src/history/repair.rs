//! The sweep: compares rows with the live streams and repairs them. Events can be lost when the queue is full; the
//! engine's registry always knows the live streams.

use std::collections::HashSet;

use gostream_engine::{
    Engine, EngineEvent,
    events::EventReceiver,
    spec::{Leg, RelayId, StreamId},
    status::{LiveStream, ProjectStatus, RelayState, RelayStatus},
};
use gostream_store::{EndReason, EventState, NewStreamEvent, Stream, StreamStatus};
use time::OffsetDateTime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    line::wall,
    writer::{WRITE_TIMEOUT, Writer},
};

/// The end reason of streams whose end was lost.
const REASON: EndReason = EndReason::NotRecorded;

/// A repair of the rows of a stream.
#[derive(Debug, PartialEq)]
enum Repair {
    /// The row is missing, or has another phase. The missing event is written.
    Write(EngineEvent),
    /// The row is open, but the stream is not live.
    Close(Stream),
}

impl Writer {
    /// Compares rows with the live streams and repairs them. Streams with queued events are skipped: those events are
    /// late, not lost.
    pub(super) async fn repair(&mut self, engine: &Engine, events: &EventReceiver) {
        // The order matters: a stream leaves the registry, and a relay shows a new state, only after the event was
        // queued.
        let live = engine.streams();
        let statuses: Vec<_> = live.iter().filter_map(|stream| engine.status(stream.project)).collect();
        let waiting = events.waiting();
        let rows = match timeout(WRITE_TIMEOUT, self.store.open_streams_at(&self.node)).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return tracing::warn!(%error, "The history could not be compared with what is live."),
            Err(_) => return tracing::warn!("The history could not be compared in time with what is live."),
        };
        // If the database fails now, the next sweep tries again.
        let once = CancellationToken::new();
        once.cancel();
        for repair in plan(&rows, &live, &waiting) {
            match repair {
                Repair::Write(event) => drop(self.write(&event, &once).await),
                Repair::Close(row) => self.close(&row).await,
            }
        }
        for status in statuses.iter().filter(|status| !waiting.contains(&status.stream.id)) {
            for event in self.outdated_relays(status) {
                self.write(&event, &once).await;
            }
            self.forget_relays(status);
        }
        self.keep_seen(&rows, &live, &waiting);
    }

    /// Closes a row. The stream ended after it was last seen live.
    async fn close(&mut self, row: &Stream) {
        let seen_at = self.written.remove(&StreamId(row.id)).map(|written| wall(written.seen_at));
        let at = seen_at.map_or(row.started_at, |seen_at| seen_at.max(row.started_at));
        let line = NewStreamEvent {
            id: Uuid::now_v7(),
            stream_id: row.id,
            at,
            relay: None,
            state: EventState::Ended,
            code: Some(REASON.name().to_owned()),
            message: None,
            sent_bytes: None,
            dropped_frames: None,
        };
        let closed = async {
            self.store.end_stream(row.id, at, REASON).await?;
            self.store.add_stream_event(line).await
        };
        match timeout(WRITE_TIMEOUT, closed).await {
            Ok(Ok(())) => tracing::warn!(stream.id = %row.id, "The end of a stream was lost; its row was closed."),
            Ok(Err(error)) => tracing::warn!(%error, stream.id = %row.id, "The row of a stream could not be closed."),
            Err(_) => tracing::warn!(stream.id = %row.id, "The row of a stream could not be closed in time."),
        }
        self.wakes.history_repaired(row.project_id);
    }

    /// Events for relays whose state differs from the written one and is newer.
    fn outdated_relays(&self, status: &ProjectStatus) -> Vec<EngineEvent> {
        let Some(written) = self.written.get(&status.stream.id) else { return Vec::new() };
        let primaries = status.relays.iter().map(|(&id, relay)| (RelayId::primary(id), relay));
        let relays = primaries.chain(status.backups.iter().map(|(&id, relay)| (RelayId::backup(id), relay)));
        // A waiting relay has nothing to report yet. The end of a relay is reported with its totals, which are gone.
        let relays = relays.filter(|(_, relay)| !matches!(relay.state, RelayState::Off | RelayState::Waiting));
        let differing = relays.filter(|(id, relay)| {
            written.relays.get(id).is_none_or(|&(state, at)| state != relay.state && relay.since > at)
        });
        let event = |(relay, is): (RelayId, &RelayStatus)| EngineEvent::RelayChanged {
            project: status.project,
            stream: status.stream.id,
            relay,
            at: is.since,
            state: is.state,
            // A working connection has no error.
            error: is
                .last_error
                .clone()
                .filter(|_| matches!(is.state, RelayState::Backoff | RelayState::Rejected | RelayState::Degraded)),
        };
        differing.map(event).collect()
    }

    /// Forgets the relays of deleted destinations: an account can create and delete any number of them.
    fn forget_relays(&mut self, status: &ProjectStatus) {
        let Some(written) = self.written.get_mut(&status.stream.id) else { return };
        written.relays.retain(|relay, _| {
            let relays = match relay.leg {
                Leg::Primary => &status.relays,
                Leg::Backup => &status.backups,
            };
            relays.contains_key(&relay.destination)
        });
    }

    /// Updates the times of live streams, and forgets ended ones.
    fn keep_seen(&mut self, rows: &[Stream], live: &[LiveStream], waiting: &HashSet<StreamId>) {
        let now = OffsetDateTime::now_utc();
        for stream in live {
            if let Some(written) = self.written.get_mut(&stream.stream) {
                written.seen_at = now.into();
            }
        }
        let open: HashSet<_> = rows.iter().map(|row| StreamId(row.id)).collect();
        let live: HashSet<_> = live.iter().map(|stream| stream.stream).collect();
        self.written
            .retain(|stream, _| open.contains(stream) || live.contains(stream) || waiting.contains(stream));
    }
}

/// The repairs that make the rows equal to the live streams.
fn plan(rows: &[Stream], live: &[LiveStream], waiting: &HashSet<StreamId>) -> Vec<Repair> {
    let mut repairs = Vec::new();
    for &LiveStream { project, stream, started_at, reconnecting, since } in live {
        if waiting.contains(&stream) {
            continue;
        }
        let row = rows.iter().find(|row| row.id == stream.0);
        if row.is_none() {
            repairs.push(Repair::Write(EngineEvent::StreamStarted { project, stream, at: started_at }));
        }
        if row.is_some_and(|row| row.status == StreamStatus::Reconnecting) != reconnecting {
            repairs.push(Repair::Write(EngineEvent::StreamPhase { project, stream, at: since, reconnecting }));
        }
    }
    let is_over = |row: &&Stream| {
        let stream = StreamId(row.id);
        !waiting.contains(&stream) && !live.iter().any(|live| live.stream == stream)
    };
    repairs.extend(rows.iter().filter(is_over).cloned().map(Repair::Close));
    repairs
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use gostream_engine::spec::ProjectId;

    use super::*;

    const PROJECT: ProjectId = ProjectId(Uuid::from_u128(1));
    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn live(n: u128, reconnecting: bool) -> LiveStream {
        let (stream, since) = (StreamId(Uuid::from_u128(n)), START + Duration::from_secs(7));
        LiveStream { project: PROJECT, stream, started_at: START, reconnecting, since }
    }

    fn row(n: u128, status: StreamStatus) -> Stream {
        Stream {
            id: Uuid::from_u128(n),
            project_id: PROJECT.0,
            status,
            started_at: wall(START),
            ended_at: None,
            end_reason: None,
            node: "node".to_owned(),
        }
    }

    #[test]
    fn rows_are_repaired_from_the_live_streams() {
        let rows = [row(1, StreamStatus::Live), row(2, StreamStatus::Reconnecting), row(3, StreamStatus::Live)];
        let is = [live(1, false), live(2, false), live(4, true)];
        let (project, since) = (PROJECT, START + Duration::from_secs(7));
        let (back, missed) = (StreamId(Uuid::from_u128(2)), StreamId(Uuid::from_u128(4)));
        let expected = [
            Repair::Write(EngineEvent::StreamPhase { project, stream: back, at: since, reconnecting: false }),
            Repair::Write(EngineEvent::StreamStarted { project, stream: missed, at: START }),
            Repair::Write(EngineEvent::StreamPhase { project, stream: missed, at: since, reconnecting: true }),
            Repair::Close(row(3, StreamStatus::Live)),
        ];
        assert_eq!(plan(&rows, &is, &HashSet::new()), expected);
    }

    #[test]
    fn streams_with_queued_events_are_skipped() {
        let waiting = (1..5).map(|n| StreamId(Uuid::from_u128(n))).collect();
        let rows = [row(2, StreamStatus::Reconnecting), row(3, StreamStatus::Live)];
        assert_eq!(plan(&rows, &[live(2, false), live(4, true)], &waiting), []);
    }
}
