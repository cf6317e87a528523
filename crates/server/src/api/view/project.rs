//! A project as the API shows it.

use gostream_engine::status;
use gostream_store::StreamStatus;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    destination::{Destination, RelayError},
    stream::Stream,
};
use crate::{api::login::Login, control::sync};

/// In place of a stream key that is not shown.
const HIDDEN: &str = "****";

/// A saved place to publish to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Project {
    pub(in crate::api) id: Uuid,
    #[schema(example = "Sunday service")]
    pub(super) name: String,
    /// Goes into the encoder's "stream key" field. Anyone who has it can publish. `****` for a token that may only read.
    pub(super) stream_key: String,
    /// Goes into the encoder's "server" field.
    #[schema(example = "rtmp://stream.example.org/live")]
    pub(super) ingest_url: String,
    /// Names the project to viewers; reveals nothing about the stream key.
    pub(super) playback_id: String,
    /// The playlist for viewers.
    pub(super) preview_url: String,
    /// The playlist in the classic form, with the stream key in it.
    pub(super) legacy_hls_url: String,
    /// Whether "stop streaming" in the encoder is taken for a drop: destinations are held as if it had lost its connection.
    pub(super) hold_after_stop: bool,
    /// The server that the stream is played from whenever somebody publishes it there, or `null`.
    #[schema(required, example = "rtmp://nginx.example.org/live")]
    pub(super) pull_url: Option<String>,
    /// How that goes; `null` when nothing is to be pulled, or another server on the same database does it.
    #[schema(required)]
    pub(super) pull: Option<Pull>,
    pub(super) status: ProjectState,
    /// Changes are not carried out on the running stream yet; `null` when they are. Only the server that runs the stream knows.
    #[schema(required)]
    pub(super) sync_error: Option<SyncError>,
    /// The running stream, or `null`.
    #[schema(required)]
    pub(super) stream: Option<Stream>,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) updated_at: OffsetDateTime,
    /// While offline: the newest try of an encoder near the viewer (same address, or same private network) with a stream key that
    /// no project has.
    #[schema(required)]
    pub(super) unknown_key: Option<UnknownKey>,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destinations: Option<Vec<Destination>>,
}

impl Project {
    /// As this login may see it: without the stream key where it may not publish.
    pub(in crate::api) fn seen_by(self, login: &Login) -> Self {
        if login.sees_keys() {
            return self;
        }
        let legacy_hls_url = self.legacy_hls_url.replace(&self.stream_key, HIDDEN);
        Self { stream_key: HIDDEN.to_owned(), legacy_hls_url, ..self }
    }
}

/// Why changes of a project are not carried out yet. The stream goes on as it was, and they are tried every few seconds.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SyncError {
    /// Stable, for programs.
    code: sync::Cause,
    /// What happened and what to do.
    message: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

/// How a stream is pulled from another server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Pull {
    state: PullState,
    /// Why the last connection failed or ended.
    #[schema(required)]
    last_error: Option<RelayError>,
}

/// Where a pull stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum PullState {
    Waiting,
    Live,
    Failing,
}

/// An encoder with a stream key that no project has.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct UnknownKey {
    #[schema(example = "203.0.113.7")]
    pub(super) address: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
}

/// Whether an encoder sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum ProjectState {
    Offline,
    Live,
    Reconnecting,
}

impl From<StreamStatus> for ProjectState {
    fn from(status: StreamStatus) -> Self {
        match status {
            StreamStatus::Live => Self::Live,
            StreamStatus::Reconnecting => Self::Reconnecting,
            StreamStatus::Ended => Self::Offline,
        }
    }
}

impl From<status::PullState> for PullState {
    fn from(state: status::PullState) -> Self {
        match state {
            status::PullState::Waiting => Self::Waiting,
            status::PullState::Live => Self::Live,
            status::PullState::Failing => Self::Failing,
        }
    }
}

impl From<sync::SyncError> for SyncError {
    fn from(error: sync::SyncError) -> Self {
        let sync::SyncError { cause, since } = error;
        Self { code: cause, message: cause.message(), since }
    }
}

impl From<status::PullStatus> for Pull {
    fn from(pull: status::PullStatus) -> Self {
        Self { state: pull.state.into(), last_error: pull.last_error.map(RelayError::from) }
    }
}
