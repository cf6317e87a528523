//! The timeline of a stream and its relays in the API.

use std::collections::BTreeMap;

use gostream_store::{EventRelay, EventState, Leg, StreamEvent as Row};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::recorded::Recorded;

/// An event of a stream or of one of its relays.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct StreamEvent {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The relay; `null` for an event of the stream itself.
    #[schema(required)]
    relay: Option<EventRelayView>,
    /// The new state of the relay; `live`, `reconnecting` or `ended` of the stream; or `notice`, for a notice to the
    /// owner of the stream.
    #[schema(value_type = EventState)]
    state: Recorded<EventState>,
    /// The reason, as a stable code for programs.
    #[schema(required)]
    code: Option<String>,
    /// The reason, as a sentence.
    #[schema(required)]
    message: Option<String>,
}

/// A relay, with its destination's name at that time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct EventRelayView {
    /// The destination may have been deleted since.
    destination_id: Uuid,
    name: String,
    platform: String,
    #[schema(value_type = Leg)]
    leg: Recorded<Leg>,
}

/// The result of one destination in a stream.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Outcome {
    /// The destination may have been deleted since.
    destination_id: Uuid,
    name: String,
    platform: String,
    #[schema(value_type = Leg)]
    leg: Recorded<Leg>,
    /// How long the platform accepted the stream, in milliseconds.
    live_ms: u64,
    /// How often the relay reconnected after being live.
    reconnects: u32,
    /// Bytes sent; `null` if the server was killed before it recorded them.
    #[schema(required)]
    sent_bytes: Option<u64>,
    /// Video frames skipped because the destination was too slow; `null` if the server was killed before it recorded
    /// them.
    #[schema(required)]
    dropped_frames: Option<u64>,
    /// The last error, if there was one.
    #[schema(required)]
    last_message: Option<String>,
}

impl From<Row> for StreamEvent {
    fn from(row: Row) -> Self {
        Self {
            at: row.at,
            relay: row.relay.map(EventRelayView::from),
            state: Recorded::read(row.state),
            code: row.code,
            message: row.message,
        }
    }
}

impl From<EventRelay> for EventRelayView {
    fn from(relay: EventRelay) -> Self {
        let EventRelay { destination_id, leg, name, platform } = relay;
        Self { destination_id, name, platform, leg: Recorded::read(leg) }
    }
}

/// Summarizes a timeline with one entry per relay, in the order of their first event. `end` is the end of the stream,
/// or now.
pub(in crate::api) fn outcomes<'a>(events: impl IntoIterator<Item = &'a Row>, end: OffsetDateTime) -> Vec<Outcome> {
    let mut found: Vec<(Outcome, Tally)> = Vec::new();
    let mut places = BTreeMap::new();
    for event in events {
        let Some(relay) = &event.relay else { continue };
        let place = *places.entry((relay.destination_id, relay.leg.clone())).or_insert_with(|| {
            found.push((Outcome::of(relay), Tally::default()));
            found.len() - 1
        });
        let Some((outcome, tally)) = found.get_mut(place) else { continue };
        // The newest name is the one that the owner knows.
        if !relay.name.is_empty() {
            outcome.name.clone_from(&relay.name);
            outcome.platform.clone_from(&relay.platform);
        }
        tally.count(event, outcome);
    }
    found
        .into_iter()
        .map(|(mut outcome, mut tally)| {
            tally.leave(end, &mut outcome);
            outcome
        })
        .collect()
}

/// The state between two events of a relay.
#[derive(Debug, Default)]
struct Tally {
    live_since: Option<OffsetDateTime>,
    was_live: bool,
}

impl Tally {
    fn count(&mut self, event: &Row, outcome: &mut Outcome) {
        let state = Recorded::<EventState>::read(event.state.clone()).known();
        match state {
            Some(EventState::Live | EventState::Degraded) if self.live_since.is_none() => {
                outcome.reconnects += u32::from(std::mem::replace(&mut self.was_live, true));
                self.live_since = Some(event.at);
            }
            // The relay is still connected.
            Some(EventState::Live | EventState::Degraded | EventState::Stalled) => {}
            _ => self.leave(event.at, outcome),
        }
        if state == Some(EventState::Off) {
            // Another start of the same relay does not count as a reconnect.
            self.was_live = false;
            let sum = |total: &mut Option<u64>, more: Option<u64>| {
                if let Some(more) = more {
                    *total = Some(total.unwrap_or(0) + more);
                }
            };
            sum(&mut outcome.sent_bytes, event.sent_bytes);
            sum(&mut outcome.dropped_frames, event.dropped_frames);
        }
        if event.message.is_some() {
            outcome.last_message.clone_from(&event.message);
        }
    }

    fn leave(&mut self, at: OffsetDateTime, outcome: &mut Outcome) {
        if let Some(since) = self.live_since.take() {
            outcome.live_ms += u64::try_from((at - since).whole_milliseconds()).unwrap_or(0);
        }
    }
}

impl Outcome {
    fn of(relay: &EventRelay) -> Self {
        Self {
            destination_id: relay.destination_id,
            name: relay.name.clone(),
            platform: relay.platform.clone(),
            leg: Recorded::read(relay.leg.clone()),
            live_ms: 0,
            reconnects: 0,
            sent_bytes: None,
            dropped_frames: None,
            last_message: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    const START: OffsetDateTime = time::macros::datetime!(2026-11-23 10:00 UTC);

    fn event(second: i64, destination: u128, state: &str, message: Option<&str>, sent: Option<u64>) -> Row {
        let relay = EventRelay {
            destination_id: Uuid::from_u128(destination),
            leg: "primary".to_owned(),
            name: format!("destination {destination}"),
            platform: "custom".to_owned(),
        };
        Row {
            id: Uuid::now_v7(),
            stream_id: Uuid::nil(),
            at: START + Duration::seconds(second),
            relay: Some(relay),
            state: state.to_owned(),
            code: None,
            message: message.map(str::to_owned),
            sent_bytes: sent,
            dropped_frames: sent.map(|_| 2),
        }
    }

    #[test]
    fn a_notice_has_code_and_message_and_is_not_an_error_of_a_destination() {
        let mut notice = event(3, 0, "notice", Some("Set one clock."), None);
        (notice.relay, notice.code) = (None, Some("clock_drift".to_owned()));
        assert!(outcomes([&notice], START).is_empty());
        let shown = serde_json::to_value(StreamEvent::from(notice)).expect("is JSON");
        let expected = serde_json::json!({
            "at": "2026-11-23T10:00:03Z", "relay": null, "state": "notice", "code": "clock_drift", "message": "Set one clock.",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn live_time_reconnects_and_the_last_error_are_summarized() {
        let mut of_stream = event(0, 0, "live", None, None);
        of_stream.relay = None;
        let events = [
            of_stream,
            event(0, 1, "connecting", None, None),
            event(1, 1, "live", None, None),
            event(5, 1, "degraded", Some("slow"), None),
            event(7, 1, "live", None, None),
            event(11, 1, "stalled", None, None),
            event(13, 1, "live", None, None),
            event(21, 1, "backoff", Some("lost"), None),
            event(22, 1, "connecting", None, None),
            event(23, 1, "live", None, None),
            event(33, 1, "off", None, Some(1_000)),
            event(40, 1, "live", None, None),
            event(45, 1, "off", None, Some(500)),
            event(0, 2, "connecting", None, None),
            event(1, 2, "rejected", Some("wrong key"), None),
            event(10, 3, "live", None, None),
        ];
        let end = START + Duration::seconds(60);
        let found = outcomes(&events, end);
        let facts: Vec<_> = found
            .iter()
            .map(|o| (o.live_ms, o.reconnects, o.sent_bytes, o.dropped_frames, o.last_message.as_deref()))
            .collect();
        assert_eq!(
            facts,
            [
                (20_000 + 10_000 + 5_000, 1, Some(1_500), Some(4), Some("lost")),
                (0, 0, None, None, Some("wrong key")),
                (50_000, 0, None, None, None),
            ]
        );
    }
}
