//! Changes that a handler makes. Each notes itself in the audit log, and reaches the server that has to carry it out.
//!
//! A stream belongs to one server. A command for a stream that runs here takes effect at once. For a stream that another server owns,
//! a row is written, which the [`Inbox`](super::cluster::Inbox) of that server carries out. So any server answers for any project.

use gostream_engine::{
    EndReason, Engine,
    spec::{DestinationId, ProjectId},
};
use gostream_store::{Destination, Error, Project, Store, Stream, StreamAction};
use uuid::Uuid;

/// The changes of one request.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    /// Notes where the request came from.
    pub(crate) store: Store,
    pub(crate) engine: &'a Engine,
    /// This server among others on the same database.
    pub(crate) node: &'a str,
}

impl Commands<'_> {
    /// Ends the running stream of a project, wherever it runs. Nothing happens when the project is offline.
    pub(crate) async fn end_stream(&self, owner: Uuid, project: Uuid) -> Result<Project, Error> {
        let project = self.store.project(owner, project).await?.ok_or(Error::NotFound)?;
        self.engine.end(ProjectId(project.id), EndReason::EndedByOwner);
        self.elsewhere(owner, project.id, StreamAction::End, ("stream_ended", &project.name)).await?;
        Ok(project)
    }

    /// Lets the relay to a destination try again now, wherever it runs. Nothing happens unless it waits to.
    pub(crate) async fn retry_relay(&self, owner: Uuid, destination: &Destination) -> Result<(), Error> {
        let (project, id) = (destination.project_id, destination.id);
        self.engine.retry(ProjectId(project), DestinationId(id));
        self.elsewhere(owner, project, StreamAction::Retry(id), ("relay_retried", &destination.name)).await
    }

    /// Notes what `user` did that changed no row. It was done already, so a database that is away fails nothing.
    pub(crate) async fn note(&self, user: Uuid, action: &'static str, object: Option<&str>) -> bool {
        match self.store.add_audit(user, action, object.map(str::to_owned)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, audit.action = action, audit.user = %user, "The audit log could not be written.");
                false
            }
        }
    }

    /// Leaves the action for the servers that own a stream of the project, and notes it.
    async fn elsewhere(
        &self,
        owner: Uuid,
        project: Uuid,
        action: StreamAction,
        audit: (&'static str, &str),
    ) -> Result<(), Error> {
        let mut streams: Vec<Stream> = self.store.open_streams(&[project]).await?;
        // What this server's own rows say is older than what its engine does.
        streams.retain(|stream| stream.node != self.node);
        if streams.is_empty() {
            self.note(owner, audit.0, Some(audit.1)).await;
            return Ok(());
        }
        self.store.add_stream_commands(owner, &streams, action, audit).await
    }
}
