//! What the API shows: rows and live status put together.

use std::{collections::HashMap, time::SystemTime};

use gostream_engine::{
    spec::ProjectId,
    status::{self, ProjectStatus, StreamPhase},
};
use gostream_store as store;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Ctx, error::Problem, extract::Links, proof::Login};

mod destination;
mod notice;
mod timeline;

use destination::RelayError;
pub(super) use destination::{Destination, Probe};
use notice::Notice;
use timeline::outcomes;
pub(super) use timeline::{Outcome, StreamEvent};

/// In place of a stream key that is not shown.
const HIDDEN: &str = "****";

/// A saved place to publish to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: Uuid,
    #[schema(example = "Sunday service")]
    name: String,
    /// Goes into the encoder's "stream key" field. Anyone who has it can publish. `****` for a token that may only read.
    stream_key: String,
    /// Goes into the encoder's "server" field.
    #[schema(example = "rtmp://stream.example.org/live")]
    ingest_url: String,
    /// Names the project to viewers; reveals nothing about the stream key.
    playback_id: String,
    /// The playlist for viewers.
    preview_url: String,
    /// The playlist in the classic form, with the stream key in it.
    legacy_hls_url: String,
    /// Whether "stop streaming" in the encoder is taken for a drop: destinations are held as if it had lost its connection.
    hold_after_stop: bool,
    /// The server that the stream is played from whenever somebody publishes it there, or `null`.
    #[schema(required, example = "rtmp://nginx.example.org/live")]
    pull_url: Option<String>,
    /// How that goes; `null` when nothing is to be pulled, or another server on the same database does it.
    #[schema(required)]
    pull: Option<Pull>,
    #[schema(value_type = ProjectState)]
    status: &'static str,
    /// The running stream, or `null`.
    #[schema(required)]
    stream: Option<Stream>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    /// While offline: the newest try of an encoder near the viewer (same address, or same private network) with a stream key that
    /// no project has.
    #[schema(required)]
    unknown_key: Option<UnknownKey>,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<Destination>>,
}

impl Project {
    /// As this login may see it: without the stream key where it may not publish.
    pub(super) fn seen_by(self, login: &Login) -> Self {
        if login.sees_keys() {
            return self;
        }
        let legacy_hls_url = self.legacy_hls_url.replace(&self.stream_key, HIDDEN);
        Self { stream_key: HIDDEN.to_owned(), legacy_hls_url, ..self }
    }
}

/// How a stream is pulled from another server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pull {
    #[schema(value_type = PullState)]
    state: &'static str,
    /// Why the last connection failed or ended.
    #[schema(required)]
    last_error: Option<RelayError>,
}

/// Where a pull stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "names the values in the OpenAPI document")]
pub(super) enum PullState {
    Waiting,
    Live,
    Failing,
}

/// An encoder with a stream key that no project has.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct UnknownKey {
    #[schema(example = "203.0.113.7")]
    address: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// Whether an encoder sends.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "names the values in the OpenAPI document")]
pub(super) enum ProjectState {
    Offline,
    Live,
    Reconnecting,
}

/// One live session of a project.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stream {
    id: Uuid,
    project_id: Uuid,
    #[schema(value_type = StreamState)]
    status: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    ended_at: Option<OffsetDateTime>,
    /// `encoder_stopped`, `encoder_lost`, `too_fast`, `ended_by_owner`, `server_stopped`, `server_killed`, or `not_recorded` where
    /// the history missed the end.
    #[schema(required)]
    end_reason: Option<String>,
    /// While the encoder is away: until when destinations are held for it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    held_until: Option<OffsetDateTime>,
    /// After the encoder is done: until when destinations with a delay get the rest. A new stream, ending this one, or stopping them
    /// cuts that short.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    rest_until: Option<OffsetDateTime>,
    /// Whether players have something to fetch. It takes a few seconds, and never comes for codecs that no browser plays.
    preview_ready: bool,
    /// What the encoder sends now; `null` once the stream ended.
    #[schema(required)]
    video: Option<Video>,
    /// What the encoder sends now; `null` once the stream ended.
    #[schema(required)]
    audio: Option<Audio>,
    /// How fast the encoder's media comes by the wall clock, over the last 18 s, in percent: 100 keeps up. `null` for the first
    /// 15 s of an encoder, while none is there, and once the stream ended.
    #[schema(required)]
    speed_percent: Option<u32>,
    /// What was repaired, left out or cannot be previewed, and what is too slow right now, oldest first; one entry per code.
    /// Empty once the stream ended: the timeline keeps them.
    notices: Vec<Notice>,
    /// How each destination did; only in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Vec<Outcome>>,
}

/// Where a stream stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "names the values in the OpenAPI document")]
pub(super) enum StreamState {
    Live,
    Reconnecting,
    Ended,
}

/// The incoming video.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Video {
    #[schema(example = "h264")]
    codec: &'static str,
    #[schema(required)]
    width: Option<u32>,
    #[schema(required)]
    height: Option<u32>,
    /// Frames per second, measured.
    #[schema(required)]
    fps: Option<f64>,
    /// Kilobits per second, measured.
    kbps: u32,
    /// Seconds between the last two keyframes.
    #[schema(required)]
    keyframe_seconds: Option<f64>,
}

/// The incoming audio.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Audio {
    #[schema(example = "aac")]
    codec: &'static str,
    #[schema(required)]
    sample_rate: Option<u32>,
    #[schema(required)]
    channels: Option<u8>,
    /// Kilobits per second, measured.
    kbps: u32,
}

/// Puts projects together with what runs.
pub(super) struct Viewer<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) links: &'a Links,
}

impl Viewer<'_> {
    /// Projects without their destinations.
    pub(super) async fn projects(&self, rows: Vec<store::Project>) -> Result<Vec<Project>, Problem> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        // Oldest first, so that of several the newest stays.
        let elsewhere = self.ctx.store.open_streams(&ids).await?.into_iter().rev();
        let mut elsewhere: HashMap<_, _> =
            elsewhere.filter(|row| row.node != self.ctx.node).map(|row| (row.project_id, row)).collect();
        Ok(rows
            .into_iter()
            .map(|row| {
                let open = elsewhere.remove(&row.id);
                self.view(row, None, open)
            })
            .collect())
    }

    /// A project without its destinations.
    pub(super) async fn project(&self, row: store::Project) -> Result<Project, Problem> {
        let elsewhere = self.stream_elsewhere(row.id).await?;
        Ok(self.view(row, None, elsewhere))
    }

    /// A project with its destinations.
    pub(super) async fn whole_project(&self, row: store::Project) -> Result<Project, Problem> {
        let destinations = self.ctx.store.destinations(row.id).await?;
        let elsewhere = self.stream_elsewhere(row.id).await?;
        Ok(self.view(row, Some(destinations), elsewhere))
    }

    fn view(
        &self,
        row: store::Project,
        destinations: Option<Vec<store::Destination>>,
        elsewhere: Option<store::Stream>,
    ) -> Project {
        let status = self.ctx.engine.status(ProjectId(row.id));
        let stream = status.as_deref().map(live_stream).or_else(|| elsewhere.map(past_stream));
        let key = row.stream_key.expose_secret();
        Project {
            id: row.id,
            name: row.name,
            ingest_url: self.links.ingest(),
            preview_url: self.links.web(&format!("/hls/{}/index.m3u8", row.playback_id)),
            legacy_hls_url: self.links.web(&format!("/hls/{key}.m3u8")),
            stream_key: key.to_owned(),
            playback_id: row.playback_id,
            hold_after_stop: row.hold_after_stop,
            pull: row.pull_url.as_ref().and_then(|_| self.ctx.engine.pull_status(ProjectId(row.id))).map(Pull::from),
            pull_url: row.pull_url,
            status: stream.as_ref().map_or("offline", |stream| stream.status),
            unknown_key: if stream.is_none() { self.unknown_key() } else { None },
            stream,
            created_at: row.created_at,
            updated_at: row.updated_at,
            destinations: destinations
                .map(|rows| rows.into_iter().map(|row| Destination::new(row, status.as_deref())).collect()),
        }
    }

    fn unknown_key(&self) -> Option<UnknownKey> {
        let (address, at) = self.ctx.strangers.near(self.links.client?, SystemTime::now())?;
        Some(UnknownKey { address: address.to_string(), at: wall(at) })
    }

    /// A stream that another server on the same database owns. What this server's own rows say is older than what its
    /// engine says, which is nothing.
    async fn stream_elsewhere(&self, project: Uuid) -> Result<Option<store::Stream>, Problem> {
        let open = self.ctx.store.open_stream(project).await?;
        Ok(open.filter(|row| row.node != self.ctx.node))
    }

    /// One destination with what runs for it.
    pub(super) fn destination(&self, row: store::Destination) -> Destination {
        let status = self.ctx.engine.status(ProjectId(row.project_id));
        Destination::new(row, status.as_deref())
    }

    /// A stream of the history with how each destination did, by its timeline; and with what is measured if it still runs.
    pub(super) fn stream(&self, row: store::Stream, events: &[store::StreamEvent]) -> Stream {
        let outcomes = outcomes(events, row.ended_at.unwrap_or_else(OffsetDateTime::now_utc));
        let status = self.ctx.engine.status(ProjectId(row.project_id));
        let stream = match status.filter(|status| status.stream.id.0 == row.id) {
            Some(status) => live_stream(&status),
            None => past_stream(row),
        };
        Stream { outcomes: Some(outcomes), ..stream }
    }
}

fn live_stream(status: &ProjectStatus) -> Stream {
    let stream = &status.stream;
    Stream {
        id: stream.id.0,
        project_id: status.project.0,
        status: match stream.phase {
            StreamPhase::Live | StreamPhase::Ending { .. } => "live",
            StreamPhase::Reconnecting { .. } => "reconnecting",
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

fn past_stream(row: store::Stream) -> Stream {
    Stream {
        id: row.id,
        project_id: row.project_id,
        status: match row.status {
            store::StreamStatus::Live => "live",
            store::StreamStatus::Reconnecting => "reconnecting",
            store::StreamStatus::Ended => "ended",
        },
        started_at: row.started_at,
        ended_at: row.ended_at,
        end_reason: row.end_reason,
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

impl From<status::PullStatus> for Pull {
    fn from(pull: status::PullStatus) -> Self {
        Self { state: pull.state.name(), last_error: pull.last_error.map(RelayError::from) }
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

/// Milliseconds, as the database keeps them.
fn wall(at: SystemTime) -> OffsetDateTime {
    let at = OffsetDateTime::from(at);
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}
