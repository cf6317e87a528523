//! A project in the API.

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

/// Replaces a stream key that is not shown.
const HIDDEN: &str = "****";

/// A project.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Project {
    pub(in crate::api) id: Uuid,
    #[schema(example = "Sunday service")]
    pub(super) name: String,
    /// For the encoder's "stream key" field. Anyone who has it can publish. `****` for a read-only token.
    pub(super) stream_key: String,
    /// For the encoder's "server" field.
    #[schema(example = "rtmp://stream.example.org/live")]
    pub(super) ingest_url: String,
    /// The id in viewers' URLs. It reveals nothing about the stream key.
    pub(super) playback_id: String,
    /// The URL of the playlist for viewers.
    pub(super) preview_url: String,
    /// The URL of the classic playlist, which contains the stream key.
    pub(super) legacy_hls_url: String,
    /// Whether "stop streaming" in the encoder counts as a lost connection, so that destinations are held.
    pub(super) hold_after_stop: bool,
    /// The server that the stream is pulled from whenever it is published there; `null` without a pull.
    #[schema(required, example = "rtmp://nginx.example.org/live")]
    pub(super) pull_url: Option<String>,
    /// The state of the pull; `null` without a pull, or if another server on the same database pulls the stream.
    #[schema(required)]
    pub(super) pull: Option<Pull>,
    pub(super) status: ProjectState,
    /// Why changes are not applied to the live stream yet; `null` if they are. Only the server that runs the stream
    /// knows this.
    #[schema(required)]
    pub(super) sync_error: Option<SyncError>,
    /// The live stream; `null` while offline.
    #[schema(required)]
    pub(super) stream: Option<Stream>,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) updated_at: OffsetDateTime,
    /// While offline: the newest attempt with an unknown stream key by an encoder near the viewer (same address, or
    /// same private network).
    #[schema(required)]
    pub(super) unknown_key: Option<UnknownKey>,
    /// Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destinations: Option<Vec<Destination>>,
}

impl Project {
    /// The project as this login may see it: without the stream key for a read-only token.
    pub(in crate::api) fn seen_by(self, login: &Login) -> Self {
        if login.sees_keys() {
            return self;
        }
        let legacy_hls_url = self.legacy_hls_url.replace(&self.stream_key, HIDDEN);
        Self { stream_key: HIDDEN.to_owned(), legacy_hls_url, ..self }
    }
}

/// Why changes of a project are not applied yet. The stream continues unchanged, and the server tries again every few
/// seconds.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SyncError {
    /// A stable code for programs.
    code: sync::Cause,
    /// The problem and its remedy.
    message: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

/// The state of a pull from another server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Pull {
    state: PullState,
    /// Why the last connection failed or ended.
    #[schema(required)]
    last_error: Option<RelayError>,
}

/// The state of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum PullState {
    Waiting,
    Live,
    Failing,
}

/// An attempt with an unknown stream key.
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
