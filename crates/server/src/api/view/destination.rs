//! A destination and its relays in the API.

use std::collections::BTreeMap;

use gostream_engine::{
    spec::DestinationId,
    status::{self, ProjectStatus, RelayStatus},
};
use gostream_store as store;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::moment::wall;

/// How many characters of a destination's stream key are shown, so that its owner recognizes it.
const HINT_CHARS: usize = 4;
/// The shortest key, in characters, whose last characters are shown. They would be most of a shorter key.
const HINTED_KEY_CHARS_MIN: usize = 8;

/// A destination.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Destination {
    id: Uuid,
    project_id: Uuid,
    #[schema(example = "youtube")]
    platform: String,
    name: String,
    #[schema(example = "rtmps://a.rtmps.youtube.com:443/live2")]
    rtmp_url: String,
    /// A second server of the same platform, or `null`.
    #[schema(required, example = "rtmps://b.rtmps.youtube.com:443/live2?backup=1")]
    backup_url: Option<String>,
    /// The last characters of the stream key, which is never shown again.
    #[schema(example = "…x7f2")]
    stream_key_hint: String,
    /// Whether a relay should run while the project is live.
    enabled: bool,
    /// The delay of the destination in seconds.
    delay_seconds: u16,
    relay: Relay,
    /// The relay to the backup server; `null` without a backup server.
    #[schema(required)]
    backup_relay: Option<Relay>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

/// The current state of a relay.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Relay {
    state: RelayState,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    /// Connection attempts since the relay was last live for a minute.
    attempt: u32,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    next_attempt_at: Option<OffsetDateTime>,
    /// Why the last connection failed or ended; while `degraded`, why the relay falls behind.
    #[schema(required)]
    last_error: Option<RelayError>,
    sent_bytes: u64,
    kbps: u32,
    /// The current delay in milliseconds. After a change of the destination's delay it follows at a keyframe. It is
    /// less than the delay if the stream is too large to be kept for that long; then the stream has a notice.
    delay_ms: u32,
    /// How many milliseconds the relay is behind the newest packet that is due after the delay.
    lag_ms: u32,
    /// The round-trip time to the platform in milliseconds; `null` while not connected.
    #[schema(required)]
    rtt_ms: Option<f64>,
    /// Video frames that were skipped because the destination was too slow.
    dropped_frames: u64,
    /// How often the relay reconnected after being live.
    reconnects: u32,
}

/// The state of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum RelayState {
    Off,
    Waiting,
    Connecting,
    Live,
    /// Connected but slower than the stream: the relay falls behind, and skips frames up to a keyframe.
    Degraded,
    Stalled,
    Backoff,
    Rejected,
}

/// Why a relay is not live, or falls behind.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct RelayError {
    /// A stable code for programs.
    code: &'static str,
    /// The problem and its remedy.
    message: String,
}

impl From<status::RelayState> for RelayState {
    fn from(state: status::RelayState) -> Self {
        match state {
            status::RelayState::Off => Self::Off,
            status::RelayState::Waiting => Self::Waiting,
            status::RelayState::Connecting => Self::Connecting,
            status::RelayState::Live => Self::Live,
            status::RelayState::Degraded => Self::Degraded,
            status::RelayState::Stalled => Self::Stalled,
            status::RelayState::Backoff => Self::Backoff,
            status::RelayState::Rejected => Self::Rejected,
        }
    }
}

impl From<status::RelayError> for RelayError {
    fn from(error: status::RelayError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

impl Destination {
    /// A row with the status of its relays, if its project is live.
    pub(super) fn new(row: store::Destination, status: Option<&ProjectStatus>) -> Self {
        let relay = |running: Option<&BTreeMap<DestinationId, RelayStatus>>| {
            match running.and_then(|relays| relays.get(&DestinationId(row.id))) {
                // The relay was just switched on and has not started yet: it is shown as waiting.
                Some(relay) if row.enabled && relay.state == status::RelayState::Off => {
                    Relay::idle(true, row.updated_at)
                }
                Some(relay) => Relay::from(relay),
                None => Relay::idle(row.enabled, row.updated_at),
            }
        };
        let backup_relay = row.backup_url.is_some().then(|| relay(status.map(|status| &status.backups)));
        let relay = relay(status.map(|status| &status.relays));
        Self {
            id: row.id,
            project_id: row.project_id,
            platform: row.platform,
            name: row.name,
            rtmp_url: row.rtmp_url,
            backup_url: row.backup_url,
            stream_key_hint: hint(row.stream_key.expose_secret()),
            enabled: row.enabled,
            delay_seconds: row.delay_seconds,
            relay,
            backup_relay,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

fn hint(key: &str) -> String {
    let chars = key.chars().count();
    let shown = if chars < HINTED_KEY_CHARS_MIN { 0 } else { HINT_CHARS };
    std::iter::once('…').chain(key.chars().skip(chars - shown)).collect()
}

impl Relay {
    /// The relay of a destination while the project is offline.
    fn idle(enabled: bool, since: OffsetDateTime) -> Self {
        let state = if enabled { RelayState::Waiting } else { RelayState::Off };
        Self {
            state,
            since,
            attempt: 0,
            next_attempt_at: None,
            last_error: None,
            sent_bytes: 0,
            kbps: 0,
            delay_ms: 0,
            lag_ms: 0,
            rtt_ms: None,
            dropped_frames: 0,
            reconnects: 0,
        }
    }
}

impl From<&RelayStatus> for Relay {
    fn from(relay: &RelayStatus) -> Self {
        let error = relay.last_error.as_ref();
        Self {
            state: relay.state.into(),
            since: wall(relay.since),
            attempt: relay.attempt,
            next_attempt_at: relay.next_attempt_at.map(wall),
            last_error: error.cloned().map(RelayError::from),
            sent_bytes: relay.sent_bytes,
            kbps: relay.kbps,
            delay_ms: relay.delay_ms,
            lag_ms: relay.lag_ms,
            rtt_ms: relay.rtt_ms.map(|ms| (ms * 10.0).round() / 10.0),
            dropped_frames: relay.dropped_frames,
            reconnects: relay.reconnects,
        }
    }
}

/// The result of a test of a destination.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Probe {
    /// Whether every step succeeded.
    ok: bool,
    /// The steps in order. The last one may have failed.
    steps: Vec<ProbeStep>,
}

/// One step of a test of a destination.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProbeStep {
    /// `resolve`, `connect`, `tls`, `handshake`, `rtmp_connect` or `create_stream`.
    step: &'static str,
    /// The duration in milliseconds.
    ms: u64,
    /// The error, if the step failed.
    #[schema(required)]
    error: Option<RelayError>,
}

impl From<Vec<status::ProbeStep>> for Probe {
    fn from(steps: Vec<status::ProbeStep>) -> Self {
        let ok = steps.iter().all(|step| step.error.is_none());
        let step = |step: status::ProbeStep| ProbeStep {
            step: step.name,
            ms: step.took.as_millis() as u64,
            error: step.error.map(RelayError::from),
        };
        Self { ok, steps: steps.into_iter().map(step).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_never_shows_most_of_a_key() {
        assert_eq!(hint("live_123456_abcd"), "…abcd");
        assert_eq!(hint("12345678"), "…5678");
        assert_eq!(hint("1234567"), "…");
        assert_eq!(hint("键键键键键键键尾"), "…键键键尾");
    }
}
