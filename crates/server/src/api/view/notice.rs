//! Something about a stream that its owner should know, as the API shows it.

use gostream_engine::status;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::wall;

/// What was repaired or left out in the incoming stream, cannot be previewed, or is too slow.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct Notice {
    /// Stable, for programs.
    #[schema(example = "clock_drift")]
    code: &'static str,
    /// What was seen and what to do.
    message: String,
    /// When it was first seen.
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

impl From<&status::Notice> for Notice {
    fn from(notice: &status::Notice) -> Self {
        Self { code: notice.code, message: notice.message.clone(), since: wall(notice.since) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, SystemTime},
    };

    use gostream_engine::{
        spec::{ProjectId, StreamId},
        status::{ProjectStatus, StreamPhase, StreamStatus},
    };
    use serde_json::json;
    use uuid::Uuid;

    use super::{super::live_stream, *};

    #[test]
    fn a_running_stream_shows_its_notices() {
        let notice = status::Notice {
            code: "clock_drift",
            message: "Set one clock.".to_owned(),
            since: SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_250),
        };
        let stream = StreamStatus {
            id: StreamId(Uuid::nil()),
            phase: StreamPhase::Live,
            started_at: SystemTime::UNIX_EPOCH,
            video: None,
            audio: None,
            received_bytes: 0,
            speed_percent: None,
            ring_bytes: 0,
            hls_ready: false,
            notices: vec![notice],
        };
        let (relays, backups) = (BTreeMap::new(), BTreeMap::new());
        let status = ProjectStatus { project: ProjectId(Uuid::nil()), stream, relays, backups };
        let shown = serde_json::to_value(live_stream(&status)).expect("is JSON");
        let expected =
            json!([{ "code": "clock_drift", "message": "Set one clock.", "since": "1970-01-01T00:00:01.5Z" }]);
        assert_eq!(shown["notices"], expected);
    }
}
