//! Commands that other servers on the same database left for this one.

use std::{collections::HashSet, time::Duration};

use gostream_engine::{
    EndReason, Engine,
    spec::{DestinationId, ProjectId},
};
use gostream_store::{Error, Store, StreamAction, StreamCommand};
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

/// The interval at which a server reads commands while it has live streams.
pub(crate) const INBOX_INTERVAL: Duration = Duration::from_secs(1);
/// How long the database may take. One that hangs must not block the reconciler.
const ROWS_TIMEOUT: Duration = Duration::from_secs(10);

/// Executes commands for the streams of this server. Each is executed once, even if its row cannot be removed.
#[derive(Debug)]
pub(crate) struct Inbox {
    store: Store,
    engine: Engine,
    node: String,
    /// Executed commands whose rows may still exist.
    executed: HashSet<Uuid>,
    /// Whether the last attempt failed. Its failure was logged.
    is_failing: bool,
}

impl Inbox {
    pub(crate) fn new(store: Store, engine: Engine, node: String) -> Self {
        Self { store, engine, node, executed: HashSet::new(), is_failing: false }
    }

    /// Whether commands may arrive between two sweeps: from another server, for a stream that runs here.
    pub(crate) fn expects_commands(&self) -> bool {
        self.store.is_shared() && !self.engine.live().is_empty()
    }

    /// Executes the pending commands. If the rows cannot be read, the next call executes them.
    pub(crate) async fn execute(&mut self) {
        let result = timeout(ROWS_TIMEOUT, self.execute_due()).await;
        let was_failing = std::mem::replace(&mut self.is_failing, !matches!(result, Ok(Ok(()))));
        match result {
            Ok(Err(error)) if !was_failing => {
                tracing::warn!(%error, "Commands of other servers cannot be read or removed.");
            }
            Err(_) if !was_failing => tracing::warn!("Commands of other servers cannot be read or removed in time."),
            _ => {}
        }
    }

    async fn execute_due(&mut self) -> Result<(), Error> {
        let found = self.store.stream_commands(&self.node, OffsetDateTime::now_utc()).await?;
        let due: HashSet<Uuid> = found.due.iter().map(|command| command.id).collect();
        self.executed.retain(|id| due.contains(id));
        for command in &found.due {
            if self.executed.insert(command.id) {
                self.apply(command);
            }
        }
        let done: Vec<Uuid> = due.into_iter().chain(found.expired).collect();
        if done.is_empty() {
            return Ok(());
        }
        self.store.remove_stream_commands(&done).await
    }

    /// Executes a command for the stream that was live when it was given. Later streams are not affected.
    fn apply(&self, command: &StreamCommand) {
        let project = ProjectId(command.project_id);
        let is_live = self.engine.status(project).is_some_and(|status| status.stream.id.0 == command.stream_id);
        if !is_live {
            return;
        }
        tracing::info!(project.id = %project, stream.id = %command.stream_id, action = ?command.action, "Executing a command of another server.");
        match command.action {
            StreamAction::End => self.engine.end(project, EndReason::EndedByOwner),
            StreamAction::Retry(destination) => self.engine.retry(project, DestinationId(destination)),
        }
    }
}

#[cfg(test)]
mod tests;
