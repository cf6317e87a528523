//! Projects: saved places to publish to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Query, SelectStatement},
};
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::Store,
    entity::{moment::Moment, project},
    error::Error,
    secret::Place,
};

/// As many random bits as a UUID has, so that nobody finds a playback by guessing.
const PLAYBACK_ID_BYTES: usize = 16;

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    /// UUID v7.
    pub id: Uuid,
    /// Its owner.
    pub user_id: Uuid,
    /// What the owner calls it.
    pub name: String,
    /// What an encoder publishes with: a UUID v4.
    pub stream_key: SecretString,
    /// What a player asks for: 22 characters of base64url that have nothing to do with the key.
    pub playback_id: String,
    /// An encoder's goodbye is taken for a drop: destinations are held for a while.
    pub hold_after_stop: bool,
    /// The server that its stream is fetched from, if it does not come by itself: an RTMP URL without the key.
    pub pull_url: Option<String>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When its name or key last changed.
    pub updated_at: OffsetDateTime,
}

/// What a project is made of.
#[derive(Clone, Debug, Default)]
pub struct NewProject {
    /// See [`Project::name`].
    pub name: String,
    /// See [`Project::pull_url`].
    pub pull_url: Option<String>,
}

impl From<&str> for NewProject {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), pull_url: None }
    }
}

/// What changes of a project: all that is given.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// See [`Project::name`].
    pub name: Option<String>,
    /// See [`Project::hold_after_stop`].
    pub hold_after_stop: Option<bool>,
    /// See [`Project::pull_url`]; `Some(None)` takes it away.
    pub pull_url: Option<Option<String>>,
}

impl Store {
    /// The projects of a user, newest first.
    pub async fn projects(&self, owner: Uuid) -> Result<Vec<Project>, Error> {
        let found = project::Entity::find()
            .filter(project::Column::UserId.eq(owner))
            .order_by_desc(project::Column::CreatedAt)
            .order_by_desc(project::Column::Id)
            .all(self.reader())
            .await;
        let rows = found.map_err(Error::reading("The projects"))?;
        rows.into_iter().map(|row| self.unsealed_project(row)).collect()
    }

    /// How many projects a user has.
    pub async fn count_projects(&self, owner: Uuid) -> Result<u64, Error> {
        let which = project::Column::UserId.eq(owner);
        let found = project::Entity::find().filter(which).count(self.reader()).await;
        found.map_err(Error::reading("The projects"))
    }

    /// A project of this owner.
    pub async fn project(&self, owner: Uuid, id: Uuid) -> Result<Option<Project>, Error> {
        let found = project::Entity::find_by_id(id).filter(project::Column::UserId.eq(owner)).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    /// Any project, for the server itself.
    pub async fn project_by_id(&self, id: Uuid) -> Result<Option<Project>, Error> {
        let found = project::Entity::find_by_id(id).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    /// The project that an encoder means, for the server itself. The key counts to the letter.
    pub async fn project_by_stream_key(&self, key: &str) -> Result<Option<Project>, Error> {
        let hash = self.keyring().lookup(key);
        let found = project::Entity::find().filter(project::Column::StreamKeyHash.eq(hash)).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    /// Adds a project with a stream key and a playback id of its own. [`Error::NotFound`] if the account is gone.
    pub async fn add_project(&self, owner: Uuid, new: impl Into<NewProject>) -> Result<Project, Error> {
        let NewProject { name, pull_url } = new.into();
        let id = Uuid::now_v7();
        let key = self.new_stream_key(id)?;
        let now = Moment::now();
        let row = project::ActiveModel {
            id: Set(id),
            user_id: Set(owner),
            name: Set(name),
            stream_key: Set(key.sealed),
            stream_key_hash: Set(key.hash),
            playback_id: Set(new_playback_id()?),
            hold_after_stop: Set(false),
            pull_url: Set(pull_url),
            pull_node: Set(None),
            pull_until: Set(None),
            created_at: Set(now),
            updated_at: Set(now),
        };
        let row = row.insert(self.writer()).await.map_err(Error::adding("The project"))?;
        self.unsealed_project(row)
    }

    /// Changes what is given, in one step, and leaves the rest. A change of nothing is no change.
    pub async fn change_project(&self, owner: Uuid, id: Uuid, change: ProjectChange) -> Result<Project, Error> {
        let row = project::ActiveModel {
            name: change.name.map(Set).unwrap_or_default(),
            hold_after_stop: change.hold_after_stop.map(Set).unwrap_or_default(),
            pull_url: change.pull_url.map(Set).unwrap_or_default(),
            ..Default::default()
        };
        if !row.is_changed() {
            return self.project(owner, id).await?.ok_or(Error::NotFound);
        }
        self.write_project(owner, id, row).await
    }

    /// Gives a project a new stream key. The old one is unknown from now on.
    pub async fn rotate_stream_key(&self, owner: Uuid, id: Uuid) -> Result<Project, Error> {
        let key = self.new_stream_key(id)?;
        let change =
            project::ActiveModel { stream_key: Set(key.sealed), stream_key_hash: Set(key.hash), ..Default::default() };
        self.write_project(owner, id, change).await
    }

    /// Deletes a project with its destinations and its history.
    pub async fn delete_project(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        let deleted = project::Entity::delete_many()
            .filter(project::Column::Id.eq(id))
            .filter(project::Column::UserId.eq(owner))
            .exec(self.writer())
            .await;
        match deleted.map_err(Error::writing("The project"))?.rows_affected {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    /// [`Error::NotFound`] unless there is such a project of this owner.
    pub(crate) async fn require_project(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        let found = project::Entity::find_by_id(id)
            .filter(project::Column::UserId.eq(owner))
            .select_only()
            .column(project::Column::Id)
            .into_tuple::<Uuid>()
            .one(self.reader())
            .await;
        found.map_err(Error::reading("The project"))?.map(drop).ok_or(Error::NotFound)
    }

    async fn write_project(&self, owner: Uuid, id: Uuid, mut change: project::ActiveModel) -> Result<Project, Error> {
        change.updated_at = Set(Moment::now());
        let changed = project::Entity::update_many()
            .set(change)
            .filter(project::Column::Id.eq(id))
            .filter(project::Column::UserId.eq(owner))
            .exec_with_returning(self.writer())
            .await;
        let row = changed.map_err(Error::writing("The project"))?.pop().ok_or(Error::NotFound)?;
        self.unsealed_project(row)
    }

    pub(crate) fn new_stream_key(&self, project: Uuid) -> Result<NewKey, Error> {
        let key = Uuid::new_v4().to_string();
        Ok(NewKey { sealed: self.keyring().seal(key_of(project), &key)?, hash: self.keyring().lookup(&key) })
    }

    fn unsealed_if_found(&self, row: Option<project::Model>) -> Result<Option<Project>, Error> {
        row.map(|row| self.unsealed_project(row)).transpose()
    }

    pub(crate) fn unsealed_project(&self, row: project::Model) -> Result<Project, Error> {
        Ok(Project {
            stream_key: self.keyring().unseal(key_of(row.id), &row.stream_key)?,
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            playback_id: row.playback_id,
            hold_after_stop: row.hold_after_stop,
            pull_url: row.pull_url,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// For filters: the ids of a user's projects.
pub(crate) fn ids_of(owner: Uuid) -> SelectStatement {
    Query::select()
        .column(project::Column::Id)
        .from(project::Entity)
        .and_where(project::Column::UserId.eq(owner))
        .take()
}

/// The two forms in which a stream key is stored.
pub(crate) struct NewKey {
    pub(crate) sealed: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

pub(crate) fn key_of(project: Uuid) -> Place {
    Place { table: "projects", column: "stream_key", row: project }
}

fn new_playback_id() -> Result<String, Error> {
    let mut bytes = [0; PLAYBACK_ID_BYTES];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
