//! What a stream is told to do.
//!
//! A stream belongs to one server. A command for a stream that runs here takes effect at once. For a stream that another server owns,
//! a row is written, which the `Inbox` of that server (`control/cluster.rs`) carries out. So any server answers for any project.

use gostream_engine::{
    EndReason,
    spec::{DestinationId, ProjectId},
};
use gostream_store::{Action, Destination, Error, Project, Stream, StreamAction};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Ends the running stream of a project, wherever it runs. Nothing happens when the project is offline.
    pub(crate) async fn end_stream(&self, owner: Uuid, project: Uuid) -> Result<Project, Error> {
        let project = self.store.project(owner, project).await?.ok_or(Error::NotFound)?;
        self.control.engine.end(ProjectId(project.id), EndReason::EndedByOwner);
        self.elsewhere(owner, project.id, StreamAction::End, (Action::StreamEnded, &project.name)).await?;
        Ok(project)
    }

    /// Lets the relay to a destination try again now, wherever it runs. Nothing happens unless it waits to.
    pub(crate) async fn retry_relay(&self, owner: Uuid, destination: &Destination) -> Result<(), Error> {
        let (project, id) = (destination.project_id, destination.id);
        self.control.engine.retry(ProjectId(project), DestinationId(id));
        self.elsewhere(owner, project, StreamAction::Retry(id), (Action::RelayRetried, &destination.name))
            .await
    }

    /// Leaves the action for the servers that own a stream of the project, and notes it.
    async fn elsewhere(
        &self,
        owner: Uuid,
        project: Uuid,
        action: StreamAction,
        audit: (Action, &str),
    ) -> Result<(), Error> {
        let mut streams: Vec<Stream> = self.store.open_streams(&[project]).await?;
        // What this server's own rows say is older than what its engine does.
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
