//! Projects: saved places to publish to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
    sea_query::{LockType, Query, SelectStatement},
};
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::{Action, Changes, Entry},
    database::{Reader, Store},
    entity::{moment::Moment, project},
    error::Error,
    lock::lock_user,
    secret::Location,
    server_url,
};

/// As many random bits as in a UUID, so that a playback id cannot be guessed.
const PLAYBACK_ID_BYTES: usize = 16;
/// The subject of error messages.
const THE_PROJECT: &str = "The project";

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    /// UUID v7.
    pub id: Uuid,
    /// Its owner.
    pub user_id: Uuid,
    /// The name given by the owner.
    pub name: String,
    /// The key that an encoder publishes with: a UUID v4.
    pub stream_key: SecretString,
    /// The id for players: 22 characters of base64url, unrelated to the key.
    pub playback_id: String,
    /// Whether an encoder's unpublish counts as an interruption: destinations stay connected for the grace time.
    pub hold_after_stop: bool,
    /// The server that the stream is pulled from: an RTMP URL without the key, with `****` instead of its login.
    pub pull_url: Option<String>,
    /// The login of that URL.
    pub pull_login: Option<SecretString>,
    /// Time of creation.
    pub created_at: OffsetDateTime,
    /// Time of the last change of its name or key.
    pub updated_at: OffsetDateTime,
}

/// The fields of a new project.
#[derive(Clone, Debug, Default)]
pub struct NewProject {
    /// See [`Project::name`].
    pub name: String,
    /// See [`Project::pull_url`], with its login.
    pub pull_url: Option<String>,
}

impl From<&str> for NewProject {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), pull_url: None }
    }
}

/// A change of a project: only fields that are set change.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// See [`Project::name`].
    pub name: Option<String>,
    /// See [`Project::hold_after_stop`].
    pub hold_after_stop: Option<bool>,
    /// See [`Project::pull_url`]; `Some(None)` removes it. With its login, or with `****` to keep the stored login.
    pub pull_url: Option<Option<String>>,
}

impl Project {
    /// The URL to pull from, with its login.
    pub fn pull_server(&self) -> Option<SecretString> {
        self.pull_url.as_deref().map(|url| server_url::join(url, self.pull_login.as_ref()))
    }
}

impl Reader {
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

    /// The project with this id, if it belongs to `owner`.
    pub async fn project(&self, owner: Uuid, id: Uuid) -> Result<Option<Project>, Error> {
        let found = project::Entity::find_by_id(id).filter(project::Column::UserId.eq(owner)).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    /// A project of any owner, for the server itself.
    pub async fn project_by_id(&self, id: Uuid) -> Result<Option<Project>, Error> {
        let found = project::Entity::find_by_id(id).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    /// The project with this stream key, for the server itself. The key must match exactly.
    pub async fn project_by_stream_key(&self, key: &str) -> Result<Option<Project>, Error> {
        let hash = self.keyring().lookup(key);
        let found = project::Entity::find().filter(project::Column::StreamKeyHash.eq(hash)).one(self.reader()).await;
        self.unsealed_if_found(found.map_err(Error::reading("The project"))?)
    }

    fn unsealed_if_found(&self, row: Option<project::Model>) -> Result<Option<Project>, Error> {
        row.map(|row| self.unsealed_project(row)).transpose()
    }

    pub(crate) fn unsealed_project(&self, row: project::Model) -> Result<Project, Error> {
        let login = server_url::unsealed(self.keyring(), pull_login_of(row.id), row.pull_login.as_ref())?;
        Ok(Project {
            stream_key: self.keyring().unseal(key_of(row.id), &row.stream_key)?,
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            playback_id: row.playback_id,
            hold_after_stop: row.hold_after_stop,
            pull_url: row.pull_url,
            pull_login: login,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }

    /// [`Error::NotFound`] unless `owner` has this project.
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
}

impl Store {
    /// Adds a project with a new stream key and playback id. [`Error::NotFound`] if the account is gone.
    pub async fn add_project(&self, owner: Uuid, new: impl Into<NewProject>) -> Result<Project, Error> {
        self.add_project_within(owner, new, u64::MAX).await
    }

    /// The same with a limit: [`Error::Quota`] if the account has `quota` projects, also under concurrent calls.
    pub async fn add_project_within(
        &self,
        owner: Uuid,
        new: impl Into<NewProject>,
        quota: u64,
    ) -> Result<Project, Error> {
        let NewProject { name, pull_url } = new.into();
        let id = Uuid::now_v7();
        let key = self.new_stream_key(id)?;
        let (pull_url, pull_login) = server_url::sealed_if_any(self.keyring(), pull_login_of(id), pull_url, None)?;
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
            pull_login: Set(pull_login),
            pull_node: Set(None),
            pull_until: Set(None),
            created_at: Set(now),
            updated_at: Set(now),
        };
        // Checked first without the writer, so that an account at its limit does not block others.
        require_room(self.reader(), owner, quota).await?;
        let transaction = self.begin().await.map_err(Error::writing(THE_PROJECT))?;
        lock_user(&transaction, owner).await?;
        require_room(&transaction, owner, quota).await?;
        let row = row.insert(&transaction).await.map_err(Error::adding(THE_PROJECT))?;
        let mut changes = Changes::default();
        changes.field("name", None, Some(&row.name));
        changes.field("pullUrl", None, row.pull_url.as_ref());
        let entry = Entry::new(owner, Action::ProjectCreated).about(&row.name).with(changes);
        self.commit(transaction, THE_PROJECT, entry).await?;
        self.unsealed_project(row)
    }

    /// Applies a change in one transaction. A change without effect writes nothing.
    pub async fn change_project(&self, owner: Uuid, id: Uuid, change: ProjectChange) -> Result<Project, Error> {
        self.revise_project(owner, id, |_| Ok(change)).await
    }

    /// The same for a change that is computed from the current, masked pull URL; the row is locked meanwhile.
    pub async fn revise_project<E: From<Error>>(
        &self,
        owner: Uuid,
        id: Uuid,
        decide: impl FnOnce(Option<&str>) -> Result<ProjectChange, E>,
    ) -> Result<Project, E> {
        let transaction = self.begin().await.map_err(Error::writing(THE_PROJECT))?;
        let old = self.locked_project(&transaction, owner, id).await?;
        let change = decide(old.pull_url.as_deref())?;
        let name = change.name.unwrap_or_else(|| old.name.clone());
        let hold_after_stop = change.hold_after_stop.unwrap_or(old.hold_after_stop);
        let (pull_url, pull_login) = match change.pull_url {
            Some(url) => server_url::sealed_if_any(self.keyring(), pull_login_of(id), url, old.pull_login.clone())?,
            None => (old.pull_url.clone(), old.pull_login.clone()),
        };
        let mut changes = Changes::default();
        changes.field("name", Some(&old.name), Some(&name));
        changes.field("holdAfterStop", Some(&old.hold_after_stop), Some(&hold_after_stop));
        changes.field("pullUrl", old.pull_url.as_ref(), pull_url.as_ref());
        if old.pull_login != pull_login {
            changes.secret("pullUrl");
        }
        if changes.is_empty() {
            return Ok(self.unsealed_project(old)?);
        }
        let entry =
            Entry::new(owner, if changes.has("pullUrl") { Action::PullChanged } else { Action::ProjectChanged });
        let entry = entry.about(&name).with(changes);
        let row = project::ActiveModel {
            name: Set(name),
            hold_after_stop: Set(hold_after_stop),
            pull_url: Set(pull_url),
            pull_login: Set(pull_login),
            ..Default::default()
        };
        Ok(self.write_project(transaction, id, row, entry).await?)
    }

    /// Replaces the stream key. The old key is invalid from now on.
    pub async fn rotate_stream_key(&self, owner: Uuid, id: Uuid) -> Result<Project, Error> {
        let key = self.new_stream_key(id)?;
        let transaction = self.begin().await.map_err(Error::writing(THE_PROJECT))?;
        let old = self.locked_project(&transaction, owner, id).await?;
        let change =
            project::ActiveModel { stream_key: Set(key.sealed), stream_key_hash: Set(key.hash), ..Default::default() };
        let mut changes = Changes::default();
        changes.secret("streamKey");
        let entry = Entry::new(owner, Action::StreamKeyRotated).about(old.name).with(changes);
        self.write_project(transaction, id, change, entry).await
    }

    /// Replaces the playback id. The old id is invalid from now on.
    pub async fn rotate_playback_id(&self, owner: Uuid, id: Uuid) -> Result<Project, Error> {
        let transaction = self.begin().await.map_err(Error::writing(THE_PROJECT))?;
        let old = self.locked_project(&transaction, owner, id).await?;
        let playback_id = new_playback_id()?;
        let mut changes = Changes::default();
        changes.secret("playbackId");
        let change = project::ActiveModel { playback_id: Set(playback_id), ..Default::default() };
        let entry = Entry::new(owner, Action::PlaybackIdRotated).about(old.name).with(changes);
        self.write_project(transaction, id, change, entry).await
    }

    /// Deletes a project with its destinations and its history.
    pub async fn delete_project(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        let transaction = self.begin().await.map_err(Error::writing(THE_PROJECT))?;
        let old = self.locked_project(&transaction, owner, id).await?;
        let deleted = project::Entity::delete_by_id(id).exec(&transaction).await;
        deleted.map_err(Error::writing(THE_PROJECT))?;
        let mut changes = Changes::default();
        changes.field("name", Some(&old.name), None);
        changes.field("pullUrl", old.pull_url.as_ref(), None);
        let entry = Entry::new(owner, Action::ProjectDeleted).about(old.name).with(changes);
        self.commit(transaction, THE_PROJECT, entry).await
    }

    /// A project of `owner`, locked until the transaction ends. The account is locked first, as for its deletion; a
    /// different order could deadlock.
    pub(crate) async fn locked_project(
        &self,
        transaction: &DatabaseTransaction,
        owner: Uuid,
        id: Uuid,
    ) -> Result<project::Model, Error> {
        lock_user(transaction, owner).await?;
        let found = project::Entity::find_by_id(id)
            .filter(project::Column::UserId.eq(owner))
            .lock(LockType::NoKeyUpdate)
            .one(transaction)
            .await;
        found.map_err(Error::reading(THE_PROJECT))?.ok_or(Error::NotFound)
    }

    async fn write_project(
        &self,
        transaction: DatabaseTransaction,
        id: Uuid,
        mut change: project::ActiveModel,
        entry: Entry,
    ) -> Result<Project, Error> {
        change.updated_at = Set(Moment::now());
        let changed = project::Entity::update_many()
            .set(change)
            .filter(project::Column::Id.eq(id))
            .exec_with_returning(&transaction)
            .await;
        let row = changed.map_err(Error::writing(THE_PROJECT))?.pop().ok_or(Error::NotFound)?;
        self.commit(transaction, THE_PROJECT, entry).await?;
        self.unsealed_project(row)
    }

    pub(crate) fn new_stream_key(&self, project: Uuid) -> Result<NewKey, Error> {
        let key = Uuid::new_v4().to_string();
        Ok(NewKey { sealed: self.keyring().seal(key_of(project), &key)?, hash: self.keyring().lookup(&key) })
    }
}

/// [`Error::Quota`] if the account has `quota` projects.
async fn require_room(connection: &impl ConnectionTrait, owner: Uuid, quota: u64) -> Result<(), Error> {
    let count = project::Entity::find().filter(project::Column::UserId.eq(owner)).count(connection).await;
    if count.map_err(Error::reading("The projects"))? < quota { Ok(()) } else { Err(Error::Quota) }
}

/// For filters: the ids of a user's projects.
pub(crate) fn ids_of(owner: Uuid) -> SelectStatement {
    Query::select()
        .column(project::Column::Id)
        .from(project::Entity)
        .and_where(project::Column::UserId.eq(owner))
        .take()
}

/// A stream key in the two forms that are stored.
pub(crate) struct NewKey {
    pub(crate) sealed: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

pub(crate) fn key_of(project: Uuid) -> Location {
    Location { table: "projects", column: "stream_key", row: project }
}

pub(crate) fn pull_login_of(project: Uuid) -> Location {
    Location { table: "projects", column: "pull_login", row: project }
}

fn new_playback_id() -> Result<String, Error> {
    let mut bytes = [0; PLAYBACK_ID_BYTES];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
