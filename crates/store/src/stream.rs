//! Streams: the history, including streams that are live. A stream belongs to the node that runs it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, prelude::Expr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{Reader, Store},
    entity::{
        moment::Moment,
        stream::{self, StreamStatus},
    },
    error::Error,
    history::EndReason,
};

/// One live session of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// As given to [`Store::start_stream`].
    pub id: Uuid,
    /// The project.
    pub project_id: Uuid,
    /// The status.
    pub status: StreamStatus,
    /// Time of the start.
    pub started_at: OffsetDateTime,
    /// Time of the end; set exactly if the status is ended.
    pub ended_at: Option<OffsetDateTime>,
    /// The end reason: a name of [`EndReason`], or a name that another version wrote.
    pub end_reason: Option<String>,
    /// The node that runs or ran it.
    pub node: String,
}

/// A page of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// Newest first.
    pub items: Vec<Stream>,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

impl From<stream::Model> for Stream {
    fn from(row: stream::Model) -> Self {
        Self {
            id: row.id,
            project_id: row.project_id,
            status: row.status,
            started_at: row.started_at.into(),
            ended_at: row.ended_at.map(OffsetDateTime::from),
            end_reason: row.end_reason,
            node: row.node,
        }
    }
}

impl Reader {
    /// A page of a project's history, newest first: at most `limit` streams (at least one) after the cursor of the
    /// previous page. Streams that start meanwhile do not shift pages. [`Error::NotFound`] unless `owner` has this
    /// project.
    pub async fn streams(
        &self,
        owner: Uuid,
        project: Uuid,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<StreamPage, Error> {
        let after = cursor.map(Cursor::parse).transpose()?;
        self.require_project(owner, project).await?;
        let limit = limit.max(1) as usize;
        let found = stream::Entity::find()
            .filter(stream::Column::ProjectId.eq(project))
            .filter(after.map_or_else(Condition::all, Cursor::older))
            .order_by_desc(stream::Column::StartedAt)
            .order_by_desc(stream::Column::Id)
            // One more than requested shows whether there is a next page.
            .limit(limit as u64 + 1)
            .all(self.reader())
            .await;
        let mut rows = found.map_err(Error::reading("The streams"))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| Cursor::of(row).to_string());
        Ok(StreamPage { items: rows.into_iter().map(Stream::from).collect(), next_cursor })
    }

    /// The open stream of a project; the newest, should there be several.
    pub async fn open_stream(&self, project: Uuid) -> Result<Option<Stream>, Error> {
        let found = stream::Entity::find()
            .filter(stream::Column::ProjectId.eq(project))
            .filter(is_open())
            .order_by_desc(stream::Column::StartedAt)
            .order_by_desc(stream::Column::Id)
            .one(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The stream"))?.map(Stream::from))
    }

    /// The open streams of these projects, newest first.
    pub async fn open_streams(&self, projects: &[Uuid]) -> Result<Vec<Stream>, Error> {
        let found = stream::Entity::find()
            .filter(stream::Column::ProjectId.is_in(projects.iter().copied()))
            .filter(is_open())
            .order_by_desc(stream::Column::StartedAt)
            .order_by_desc(stream::Column::Id)
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The streams"))?.into_iter().map(Stream::from).collect())
    }

    /// The open streams of a node, which it compares with what it runs.
    pub async fn open_streams_at(&self, node: &str) -> Result<Vec<Stream>, Error> {
        let found = stream::Entity::find()
            .filter(stream::Column::Node.eq(node))
            .filter(is_open())
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The streams"))?.into_iter().map(Stream::from).collect())
    }

    /// A stream of a project of `owner`.
    pub async fn stream(&self, owner: Uuid, project: Uuid, id: Uuid) -> Result<Option<Stream>, Error> {
        self.require_project(owner, project).await?;
        let found = stream::Entity::find_by_id(id)
            .filter(stream::Column::ProjectId.eq(project))
            .one(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The stream"))?.map(Stream::from))
    }
}

impl Store {
    /// Records the start of a stream; idempotent. [`Error::NotFound`] if the project is gone.
    pub async fn start_stream(&self, stream: Uuid, project: Uuid, node: &str, at: OffsetDateTime) -> Result<(), Error> {
        let row = stream::ActiveModel {
            id: Set(stream),
            project_id: Set(project),
            node: Set(node.to_owned()),
            status: Set(StreamStatus::Live),
            started_at: Set(at.into()),
            ended_at: Set(None),
            end_reason: Set(None),
        };
        let added = stream::Entity::insert(row)
            .on_conflict_do_nothing_on([stream::Column::Id])
            .exec_without_returning(self.writer())
            .await;
        added.map(drop).map_err(Error::adding("The stream"))
    }

    /// Records a stream's status. An ended stream does not change; [`StreamStatus::Ended`] ends it now.
    /// [`Error::NotFound`] if there is no such stream.
    pub async fn set_stream_status(&self, stream: Uuid, status: StreamStatus) -> Result<(), Error> {
        if status == StreamStatus::Ended {
            return self.end_stream(stream, OffsetDateTime::now_utc(), EndReason::Ended).await;
        }
        let change = stream::ActiveModel { status: Set(status), ..Default::default() };
        self.change_open_stream(stream, change).await
    }

    /// Records the end of a stream; the first recorded end is kept. [`Error::NotFound`] if there is no such stream.
    pub async fn end_stream(&self, stream: Uuid, at: OffsetDateTime, reason: EndReason) -> Result<(), Error> {
        self.change_open_stream(stream, end(at, reason)).await
    }

    /// Ends the streams that a killed server process left open, and returns their number.
    pub async fn close_abandoned_streams(&self, node: &str, at: OffsetDateTime) -> Result<u64, Error> {
        let closed = stream::Entity::update_many()
            .set(end(at, EndReason::ServerKilled))
            .filter(stream::Column::Node.eq(node))
            .filter(is_open())
            .exec(self.writer())
            .await;
        Ok(closed.map_err(Error::writing("The abandoned streams"))?.rows_affected)
    }

    async fn change_open_stream(&self, stream: Uuid, change: stream::ActiveModel) -> Result<(), Error> {
        let changed = stream::Entity::update_many()
            .set(change)
            .filter(stream::Column::Id.eq(stream))
            .filter(is_open())
            .exec(self.writer())
            .await;
        if changed.map_err(Error::writing("The stream"))?.rows_affected > 0 {
            return Ok(());
        }
        match stream::Entity::find_by_id(stream)
            .count(self.reader())
            .await
            .map_err(Error::reading("The stream"))?
        {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }
}

fn end(at: OffsetDateTime, reason: EndReason) -> stream::ActiveModel {
    stream::ActiveModel {
        status: Set(StreamStatus::Ended),
        ended_at: Set(Some(at.into())),
        end_reason: Set(Some(reason.name().to_owned())),
        ..Default::default()
    }
}

fn is_open() -> Expr {
    stream::Column::EndedAt.is_null()
}

/// The last stream of a page. Opaque to clients: base64url of
///
/// ```text
/// started_at, ms (8 bytes, big endian) | id (16 bytes)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    started_at: Moment,
    id: Uuid,
}

impl Cursor {
    fn of(row: &stream::Model) -> Self {
        Self { started_at: row.started_at, id: row.id }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadCursor)?;
        let (ms, id) = bytes.split_first_chunk::<8>().ok_or(Error::BadCursor)?;
        let id = Uuid::from_slice(id).map_err(|_| Error::BadCursor)?;
        Ok(Self { started_at: Moment::from_ms(i64::from_be_bytes(*ms)), id })
    }

    /// Whether a stream comes after this one in a list with the newest first.
    fn older(self) -> Condition {
        let same_time = Condition::all()
            .add(stream::Column::StartedAt.eq(self.started_at))
            .add(stream::Column::Id.lt(self.id));
        Condition::any().add(stream::Column::StartedAt.lt(self.started_at)).add(same_time)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [self.started_at.ms().to_be_bytes().as_slice(), self.id.as_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}
