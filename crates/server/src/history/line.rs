//! What an event is in the timeline of its stream.

use std::time::{Duration, SystemTime};

use gostream_engine::{
    EngineEvent,
    spec::{RelayId, StreamId},
    status::RelayState,
};
use gostream_store::NewStreamEvent;
use time::OffsetDateTime;
use uuid::Uuid;

/// For rows.
pub(super) fn wall(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(at)
}

/// When a stream began, by its id; now for an id that does not say it.
pub(super) fn began_at(stream: StreamId) -> SystemTime {
    let began = stream.0.get_timestamp().map(|timestamp| timestamp.to_unix());
    began.map_or_else(SystemTime::now, |(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// The line of the timeline that an event is worth.
pub(super) fn happened(event: &EngineEvent) -> Option<NewStreamEvent> {
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
        // Named after its stream: that it began may be found out in more than one way.
        EngineEvent::StreamStarted { stream, at, .. } => {
            NewStreamEvent { id: stream.0, ..line(*stream, *at, None, "live") }
        }
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
