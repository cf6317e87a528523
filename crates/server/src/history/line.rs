//! Converts engine events to lines of a stream's timeline.

use std::time::{Duration, SystemTime};

use gostream_engine::{
    EndReason, EngineEvent,
    spec::{self, RelayId, StreamId},
    status::RelayState,
};
use gostream_store::{self as store, EventState, Leg, NewStreamEvent};
use time::OffsetDateTime;
use uuid::Uuid;

/// The time as rows store it.
pub(super) fn wall(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(at)
}

/// The start time of a stream, from its id; the current time if the id holds none.
pub(super) fn started_at_of(stream: StreamId) -> SystemTime {
    let began = stream.0.get_timestamp().map(|timestamp| timestamp.to_unix());
    began.map_or_else(SystemTime::now, |(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// The end reason as rows store it.
pub(super) const fn end_reason(reason: EndReason) -> store::EndReason {
    match reason {
        EndReason::EncoderStopped => store::EndReason::EncoderStopped,
        EndReason::EncoderLost => store::EndReason::EncoderLost,
        EndReason::TooFast(_) => store::EndReason::TooFast,
        EndReason::EndedByOwner => store::EndReason::EndedByOwner,
        EndReason::ServerStopped => store::EndReason::ServerStopped,
    }
}

/// Destination and leg of a relay as rows store them.
const fn relay_of(relay: RelayId) -> (Uuid, Leg) {
    let leg = match relay.leg {
        spec::Leg::Primary => Leg::Primary,
        spec::Leg::Backup => Leg::Backup,
    };
    (relay.destination.0, leg)
}

/// The state of a relay as rows store it.
const fn state_of(state: RelayState) -> EventState {
    match state {
        RelayState::Off => EventState::Off,
        RelayState::Waiting => EventState::Waiting,
        RelayState::Connecting => EventState::Connecting,
        RelayState::Live => EventState::Live,
        RelayState::Degraded => EventState::Degraded,
        RelayState::Stalled => EventState::Stalled,
        RelayState::Backoff => EventState::Backoff,
        RelayState::Rejected => EventState::Rejected,
    }
}

/// The timeline line for an event; `None` if the event needs no line.
pub(super) fn timeline_line(event: &EngineEvent) -> Option<NewStreamEvent> {
    let line = |stream: StreamId, at, relay: Option<RelayId>, state| NewStreamEvent {
        // The id is chosen here, so that a repeated write does not add a second line.
        id: Uuid::now_v7(),
        stream_id: stream.0,
        at: wall(at),
        relay: relay.map(relay_of),
        state,
        code: None,
        message: None,
        sent_bytes: None,
        dropped_frames: None,
    };
    Some(match event {
        // The line has the stream's id: the start may be recorded in more than one way.
        EngineEvent::StreamStarted { stream, at, .. } => {
            NewStreamEvent { id: stream.0, ..line(*stream, *at, None, EventState::Live) }
        }
        EngineEvent::StreamPhase { stream, at, reconnecting, .. } => {
            line(*stream, *at, None, if *reconnecting { EventState::Reconnecting } else { EventState::Live })
        }
        EngineEvent::StreamEnded { stream, at, reason, .. } => {
            let (code, message) = (Some(end_reason(*reason).name().to_owned()), reason.advice());
            NewStreamEvent { code, message, ..line(*stream, *at, None, EventState::Ended) }
        }
        EngineEvent::StreamNotice { stream, notice, .. } => NewStreamEvent {
            code: Some(notice.code.to_owned()),
            message: Some(notice.message.clone()),
            ..line(*stream, notice.since, None, EventState::Notice)
        },
        EngineEvent::RelayChanged { stream, relay, at, state, error, .. } => {
            // `RelayEnded` reports the end together with the totals.
            if *state == RelayState::Off {
                return None;
            }
            let (code, message) = error.as_ref().map(|error| (error.code.to_owned(), error.message.clone())).unzip();
            NewStreamEvent { code, message, ..line(*stream, *at, Some(*relay), state_of(*state)) }
        }
        EngineEvent::RelayEnded { stream, relay, at, totals, .. } => NewStreamEvent {
            sent_bytes: Some(totals.sent_bytes),
            dropped_frames: Some(totals.dropped_frames),
            ..line(*stream, *at, Some(*relay), EventState::Off)
        },
    })
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
        let line = timeline_line(&EngineEvent::StreamNotice { project, stream, notice }).expect("is kept");
        assert_eq!((line.stream_id, line.at, line.relay), (stream.0, OffsetDateTime::UNIX_EPOCH, None));
        assert_eq!(
            (line.state.name(), line.code.as_deref(), line.message.as_deref()),
            ("notice", Some("clock_drift"), Some("Set one clock."))
        );
    }
}
