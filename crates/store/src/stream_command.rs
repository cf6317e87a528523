//! Commands for streams on other nodes: rows that the reconciler of the owning node executes and removes.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::{Action, Entry},
    database::{Reader, Store},
    entity::{moment::Moment, stream_command},
    error::Error,
    stream::Stream,
};

/// An older command is removed without being executed: by then the user has moved on. The clocks of servers may differ
/// by less than this.
pub const COMMAND_LIFETIME: Duration = Duration::from_secs(60);

/// The column `kind`.
const END: &str = "end";
const RETRY: &str = "retry";

/// The requested action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// End the stream, as its owner requested.
    End,
    /// Retry the relay to this destination without waiting for its next attempt.
    Retry(Uuid),
}

/// A command for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommand {
    /// The command's id.
    pub id: Uuid,
    /// The project of the stream.
    pub project_id: Uuid,
    /// The stream; the command does not apply to a later one.
    pub stream_id: Uuid,
    /// The action.
    pub action: StreamAction,
}

/// The commands that a node finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCommands {
    /// Commands for this node to execute, oldest first.
    pub due: Vec<StreamCommand>,
    /// Commands older than [`COMMAND_LIFETIME`], of any node, to be removed.
    pub expired: Vec<Uuid>,
}

impl StreamAction {
    /// The columns `kind` and `destination_id`.
    fn columns(self) -> (&'static str, Option<Uuid>) {
        match self {
            Self::End => (END, None),
            Self::Retry(destination) => (RETRY, Some(destination)),
        }
    }
}

impl Reader {
    /// The commands that `node` must execute, and those that no node executed in time.
    pub async fn stream_commands(&self, node: &str, now: OffsetDateTime) -> Result<StreamCommands, Error> {
        use stream_command::{Column, Entity};

        let found = Entity::find()
            .filter(Condition::any().add(Column::Node.eq(node)).add(is_expired(now)))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(self.reader())
            .await;
        let mut commands = StreamCommands::default();
        for row in found.map_err(Error::reading("The commands"))? {
            let is_due = OffsetDateTime::from(row.created_at) >= now - COMMAND_LIFETIME;
            match row.action().filter(|_| is_due) {
                Some(action) => {
                    let stream_command::Model { id, project_id, stream_id, .. } = row;
                    commands.due.push(StreamCommand { id, project_id, stream_id, action });
                }
                None => commands.expired.push(row.id),
            }
        }
        Ok(commands)
    }
}

impl Store {
    /// Adds `action` for the nodes that run these streams, with a line in the audit log of `user`, in one transaction.
    /// A command replaces an older equal one. [`Error::NotFound`] if a stream is gone.
    pub async fn add_stream_commands(
        &self,
        user: Uuid,
        streams: &[Stream],
        action: StreamAction,
        audit: (Action, &str),
    ) -> Result<(), Error> {
        use stream_command::{ActiveModel, Column, Entity};

        let now = OffsetDateTime::now_utc();
        let (kind, destination) = action.columns();
        let same_destination = match destination {
            Some(destination) => Column::DestinationId.eq(destination),
            None => Column::DestinationId.is_null(),
        };
        let same = Condition::all()
            .add(Column::StreamId.is_in(streams.iter().map(|stream| stream.id)))
            .add(Column::Kind.eq(kind))
            .add(same_destination);
        let replaced = Condition::any().add(same).add(is_expired(now));
        let rows = streams.iter().map(|stream| ActiveModel {
            id: Set(Uuid::now_v7()),
            node: Set(stream.node.clone()),
            project_id: Set(stream.project_id),
            stream_id: Set(stream.id),
            kind: Set(kind.to_owned()),
            destination_id: Set(destination),
            created_at: Set(now.into()),
        });
        let what = "The command";
        let transaction = self.begin().await.map_err(Error::writing(what))?;
        let removed = Entity::delete_many().filter(replaced).exec(&transaction).await;
        removed.map_err(Error::writing(what))?;
        let added = Entity::insert_many(rows).exec_without_returning(&transaction).await;
        added.map_err(Error::adding(what))?;
        let (name, object) = audit;
        self.commit(transaction, what, Entry::new(user, name).about(object)).await
    }

    /// Removes commands that were executed or have expired.
    pub async fn remove_stream_commands(&self, ids: &[Uuid]) -> Result<(), Error> {
        let ids = ids.iter().copied();
        let gone = stream_command::Entity::delete_many()
            .filter(stream_command::Column::Id.is_in(ids))
            .exec(self.writer())
            .await;
        gone.map(drop).map_err(Error::writing("The commands"))
    }
}

impl stream_command::Model {
    /// `None` for a row that a newer version wrote.
    fn action(&self) -> Option<StreamAction> {
        match (self.kind.as_str(), self.destination_id) {
            (END, None) => Some(StreamAction::End),
            (RETRY, Some(destination)) => Some(StreamAction::Retry(destination)),
            _ => None,
        }
    }
}

fn is_expired(now: OffsetDateTime) -> Condition {
    Condition::all().add(stream_command::Column::CreatedAt.lt(Moment::from(now - COMMAND_LIFETIME)))
}
