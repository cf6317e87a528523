//! A live or past stream in the API.

use gostream_engine::status::{self, ProjectStatus, StreamPhase};
use gostream_store::{self as store, EndReason, StreamStatus};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{moment::wall, notice::Notice, recorded::Recorded, timeline::Outcome};

/// A stream: one broadcast of a project.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Stream {
    id: Uuid,
    project_id: Uuid,
    pub(super) status: StreamStatus,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    ended_at: Option<OffsetDateTime>,
    /// Why the stream ended; `not_recorded` if the history missed the end.
    #[schema(required, value_type = Option<EndReason>)]
    end_reason: Option<Recorded<EndReason>>,
    /// While the encoder is disconnected: until when destinations are held.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    held_until: Option<OffsetDateTime>,
    /// After the encoder has finished: until when delayed destinations get the rest. A new stream, ending this one, or
    /// stopping the destinations ends this early.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    rest_until: Option<OffsetDateTime>,
    /// Whether players can load the stream. It takes a few seconds, and stays `false` for codecs that no browser plays.
    preview_ready: bool,
    /// The current video of the encoder; `null` once the stream ended.
    #[schema(required)]
    video: Option<Video>,
    /// The current audio of the encoder; `null` once the stream ended.
    #[schema(required)]
    audio: Option<Audio>,
    /// The speed of the incoming media relative to the wall clock over the last 18 s, in percent: 100 is real time.
    /// `null` for the first 15 s of an encoder, while it is disconnected, and once the stream ended.
    #[schema(required)]
    speed_percent: Option<u32>,
    /// What was repaired, left out or cannot be previewed, and what is too slow now; oldest first, one entry per code.
    /// Empty once the stream ended: the timeline keeps the notices.
    notices: Vec<Notice>,
    /// The result of each destination; only in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Vec<Outcome>>,
}

/// The incoming video.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Video {
    #[schema(example = "h264")]
    codec: &'static str,
    #[schema(required)]
    width: Option<u32>,
    #[schema(required)]
    height: Option<u32>,
    /// The measured frames per second.
    #[schema(required)]
    fps: Option<f64>,
    /// The measured bitrate in kilobits per second.
    kbps: u32,
    /// The time between the last two keyframes in seconds.
    #[schema(required)]
    keyframe_seconds: Option<f64>,
}

/// The incoming audio.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Audio {
    #[schema(example = "aac")]
    codec: &'static str,
    #[schema(required)]
    sample_rate: Option<u32>,
    #[schema(required)]
    channels: Option<u8>,
    /// The measured bitrate in kilobits per second.
    kbps: u32,
}

impl Stream {
    /// The stream with the result of each destination.
    pub(super) fn with_outcomes(self, outcomes: Vec<Outcome>) -> Self {
        Self { outcomes: Some(outcomes), ..self }
    }
}

pub(super) fn live_stream(status: &ProjectStatus) -> Stream {
    let stream = &status.stream;
    Stream {
        id: stream.id.0,
        project_id: status.project.0,
        status: match stream.phase {
            StreamPhase::Live | StreamPhase::Ending { .. } => StreamStatus::Live,
            StreamPhase::Reconnecting { .. } => StreamStatus::Reconnecting,
        },
        started_at: wall(stream.started_at),
        ended_at: None,
        end_reason: None,
        held_until: match stream.phase {
            StreamPhase::Live | StreamPhase::Ending { .. } => None,
            StreamPhase::Reconnecting { until } => Some(wall(until)),
        },
        rest_until: match stream.phase {
            StreamPhase::Ending { until } => Some(wall(until)),
            StreamPhase::Live | StreamPhase::Reconnecting { .. } => None,
        },
        preview_ready: stream.hls_ready,
        video: stream.video.as_ref().map(Video::from),
        audio: stream.audio.as_ref().map(Audio::from),
        speed_percent: stream.speed_percent,
        notices: stream.notices.iter().map(Notice::from).collect(),
        outcomes: None,
    }
}

pub(super) fn past_stream(row: store::Stream) -> Stream {
    Stream {
        id: row.id,
        project_id: row.project_id,
        status: row.status,
        started_at: row.started_at,
        ended_at: row.ended_at,
        end_reason: row.end_reason.map(Recorded::read),
        held_until: None,
        rest_until: None,
        preview_ready: false,
        video: None,
        audio: None,
        speed_percent: None,
        notices: Vec::new(),
        outcomes: None,
    }
}

impl From<&status::VideoStatus> for Video {
    fn from(video: &status::VideoStatus) -> Self {
        Self {
            codec: video.codec,
            width: video.width,
            height: video.height,
            fps: video.fps,
            kbps: video.kbps,
            keyframe_seconds: video.keyframe_seconds,
        }
    }
}

impl From<&status::AudioStatus> for Audio {
    fn from(audio: &status::AudioStatus) -> Self {
        Self { codec: audio.codec, sample_rate: audio.sample_rate, channels: audio.channels, kbps: audio.kbps }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, SystemTime},
    };

    use gostream_engine::spec::{ProjectId, StreamId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_live_stream_shows_its_notices() {
        let notice = status::Notice {
            code: "clock_drift",
            message: "Set one clock.".to_owned(),
            since: SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_250),
        };
        let stream = status::StreamStatus {
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
