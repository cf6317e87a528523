//! Converts rows to the engine's specs.

use std::time::Duration;

use gostream_engine::spec::{
    AccountId, DestinationId, DestinationSpec, Goodbye, ProjectId, ProjectSpec, PullSpec, StreamKey, Target,
};
use gostream_proto::rtmp::url::RtmpUrl;
use gostream_store::{Destination, Error, Project, Store};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

/// The rows of a project; `None` if it was deleted.
pub(super) async fn read(store: &Store, project: Uuid) -> Result<Option<(Project, Vec<Destination>)>, Error> {
    let Some(row) = store.project_by_id(project).await? else { return Ok(None) };
    let destinations = store.destinations(project).await?;
    Ok(Some((row, destinations)))
}

/// The desired state of a project, from its rows.
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

/// The pull of a project; `None` if an encoder pushes its stream, or if the row's URL is invalid, which the API
/// prevents.
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

/// The desired state of a destination; `None` if the row's URL is invalid, which the API prevents.
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
        // The API accepts only valid URLs, so another program wrote the row.
        Err(error) => {
            tracing::warn!(%error, destination.id = %row.id, "A saved destination has no usable URL.");
            None
        }
    }
}
