//! Commands for streams.
//!
//! A stream runs on one server. A command for a stream on this server takes effect at once. A command for a stream on
//! another server is written as a row, which the `Inbox` of that server (`control/cluster.rs`) executes. So any server
//! accepts requests for any project.

use gostream_engine::{
    EndReason,
    spec::{DestinationId, ProjectId},
};
use gostream_store::{Action, Destination, Error, Project, Stream, StreamAction};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Ends the live stream of a project, on whichever server it runs. Does nothing if the project is offline.
    pub(crate) async fn end_stream(&self, owner: Uuid, project: Uuid) -> Result<Project, Error> {
        let project = self.store.project(owner, project).await?.ok_or(Error::NotFound)?;
        self.control.engine.end(ProjectId(project.id), EndReason::EndedByOwner);
        self.elsewhere(owner, project.id, StreamAction::End, (Action::StreamEnded, &project.name)).await?;
        Ok(project)
    }

    /// Makes the relay to a destination reconnect now, on whichever server it runs. Does nothing unless the relay waits
    /// for its next attempt.
    pub(crate) async fn retry_relay(&self, owner: Uuid, destination: &Destination) -> Result<(), Error> {
        let (project, id) = (destination.project_id, destination.id);
        self.control.engine.retry(ProjectId(project), DestinationId(id));
        self.elsewhere(owner, project, StreamAction::Retry(id), (Action::RelayRetried, &destination.name))
            .await
    }

    /// Writes the action for the servers that run a stream of the project, and records it.
    async fn elsewhere(
        &self,
        owner: Uuid,
        project: Uuid,
        action: StreamAction,
        audit: (Action, &str),
    ) -> Result<(), Error> {
        let mut streams: Vec<Stream> = self.store.open_streams(&[project]).await?;
        // The engine is more current than the rows of this server.
        streams.retain(|stream| stream.node != self.control.node);
        if streams.is_empty() {
            self.note(owner, audit.0, Some(audit.1)).await;
            return Ok(());
        }
        self.store.add_stream_commands(owner, &streams, action, audit).await?;
        self.control.wakes.commands_left();
        Ok(())
    }
}
