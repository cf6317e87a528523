//! What saved rows mean to the engine.

use std::time::Duration;

use gostream_engine::spec::{
    AccountId, DestinationId, DestinationSpec, Goodbye, ProjectId, ProjectSpec, PullSpec, StreamKey, Target,
};
use gostream_proto::rtmp::url::RtmpUrl;
use gostream_store::{Destination, Error, Project, Store};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

/// The rows of a project; `None` when it was deleted.
pub(super) async fn read(store: &Store, project: Uuid) -> Result<Option<(Project, Vec<Destination>)>, Error> {
    let Some(row) = store.project_by_id(project).await? else { return Ok(None) };
    let destinations = store.destinations(project).await?;
    Ok(Some((row, destinations)))
}

/// What should be, from what is saved.
pub(super) fn spec(project: &Project, destinations: &[Destination]) -> ProjectSpec {
    ProjectSpec {
        id: ProjectId(project.id),
        account: AccountId(project.user_id),
        stream_key: StreamKey::new(project.stream_key.expose_secret()),
        playback_id: project.playback_id.clone(),
        goodbye: if project.hold_after_stop { Goodbye::Holds } else { Goodbye::Ends },
        destinations: destinations.iter().filter_map(destination_spec).collect(),
    }
}

/// Where a project's stream is fetched from; `None` for one that comes by itself, or a row that the API could not have written.
pub(super) fn pull_spec(row: &Project) -> Option<PullSpec> {
    match RtmpUrl::parse(row.pull_server()?.expose_secret()) {
        Ok(url) => {
            let source = Target { url, key: StreamKey::new(row.stream_key.expose_secret()) };
            Some(PullSpec { account: AccountId(row.user_id), project: ProjectId(row.id), source })
        }
        Err(error) => {
            tracing::warn!(%error, project.id = %row.id, "A saved project has no usable URL to pull from.");
            None
        }
    }
}

/// What a saved destination means to the engine; `None` for a row that the API could not have written.
pub(crate) fn destination_spec(row: &Destination) -> Option<DestinationSpec> {
    let key = StreamKey::new(row.stream_key.expose_secret());
    let backup = row.backup_server().map(|url| RtmpUrl::parse(url.expose_secret())).transpose();
    match RtmpUrl::parse(row.server().expose_secret()).and_then(|url| Ok((url, backup?))) {
        Ok((url, backup)) => Some(DestinationSpec {
            id: DestinationId(row.id),
            backup: backup.map(|url| Target { url, key: key.clone() }),
            target: Target { url, key },
            enabled: row.enabled,
            delay: Duration::from_secs(row.delay_seconds.into()),
        }),
        // The API takes only URLs that parse, so the row was written by another program.
        Err(error) => {
            tracing::warn!(%error, destination.id = %row.id, "A saved destination has no usable URL.");
            None
        }
    }
}
