//! Destinations: saved places to send to. Their stream keys are decrypted only for relays.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{IntoCondition as _, LockType},
};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::{Action, Changes, Entry},
    database::{Reader, Store},
    entity::{destination, moment::Moment},
    error::Error,
    lock::lock_user,
    project,
    secret::Location,
    server_url,
};

/// The subject of error messages.
const THE_DESTINATION: &str = "The destination";

/// A destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// UUID v7.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// A platform id of the catalogue, or `custom`; not checked here.
    pub platform: String,
    /// The name given by the owner.
    pub name: String,
    /// The URL as entered, with `****` instead of its login.
    pub rtmp_url: String,
    /// The login of that URL.
    pub rtmp_login: Option<SecretString>,
    /// The URL of a second server of the platform, as entered, with `****` instead of its login.
    pub backup_url: Option<String>,
    /// The login of that URL.
    pub backup_login: Option<SecretString>,
    /// The stream key as entered.
    pub stream_key: SecretString,
    /// Whether the owner enabled it.
    pub enabled: bool,
    /// Delay of the stream to this destination, in seconds: 0 to 300.
    pub delay_seconds: u16,
    /// Time of creation.
    pub created_at: OffsetDateTime,
    /// Time of the last change.
    pub updated_at: OffsetDateTime,
}

/// The fields of a new destination.
#[derive(Clone)]
pub struct NewDestination {
    /// See [`Destination::platform`].
    pub platform: String,
    /// See [`Destination::name`].
    pub name: String,
    /// See [`Destination::rtmp_url`]; with its login.
    pub rtmp_url: String,
    /// See [`Destination::backup_url`]; with its login.
    pub backup_url: Option<String>,
    /// See [`Destination::stream_key`].
    pub stream_key: SecretString,
    /// See [`Destination::enabled`].
    pub enabled: bool,
    /// See [`Destination::delay_seconds`].
    pub delay_seconds: u16,
}

/// A change of a destination: only fields that are set change.
#[derive(Clone, Default)]
pub struct DestinationChange {
    /// See [`Destination::platform`].
    pub platform: Option<String>,
    /// See [`Destination::name`].
    pub name: Option<String>,
    /// See [`Destination::rtmp_url`]; with its login, or with `****` to keep the stored login.
    pub rtmp_url: Option<String>,
    /// See [`Destination::backup_url`], with a login as above; `Some(None)` removes it.
    pub backup_url: Option<Option<String>>,
    /// See [`Destination::stream_key`].
    pub stream_key: Option<SecretString>,
    /// See [`Destination::enabled`].
    pub enabled: Option<bool>,
    /// See [`Destination::delay_seconds`].
    pub delay_seconds: Option<u16>,
}

impl Destination {
    /// The server URL to connect to, with the login.
    pub fn server(&self) -> SecretString {
        server_url::join(&self.rtmp_url, self.rtmp_login.as_ref())
    }

    /// The backup server URL to connect to, with the login.
    pub fn backup_server(&self) -> Option<SecretString> {
        self.backup_url.as_deref().map(|url| server_url::join(url, self.backup_login.as_ref()))
    }
}

impl Reader {
    /// The destinations of a project, oldest first.
    pub async fn destinations(&self, project: Uuid) -> Result<Vec<Destination>, Error> {
        let found = destination::Entity::find()
            .filter(destination::Column::ProjectId.eq(project))
            .order_by_asc(destination::Column::CreatedAt)
            .order_by_asc(destination::Column::Id)
            .all(self.reader())
            .await;
        let rows = found.map_err(Error::reading("The destinations"))?;
        rows.into_iter().map(|row| self.unsealed_destination(row)).collect()
    }

    /// The destination with this id, if it belongs to `owner`.
    pub async fn destination(&self, owner: Uuid, id: Uuid) -> Result<Option<Destination>, Error> {
        let found = destination::Entity::find().filter(owned(owner, id)).one(self.reader()).await;
        let row = found.map_err(Error::reading("The destination"))?;
        row.map(|row| self.unsealed_destination(row)).transpose()
    }

    fn unsealed_destination(&self, row: destination::Model) -> Result<Destination, Error> {
        let login = |place, sealed: &Option<Vec<u8>>| server_url::unsealed(self.keyring(), place, sealed.as_ref());
        Ok(Destination {
            rtmp_login: login(login_of(row.id), &row.rtmp_login)?,
            backup_login: login(backup_login_of(row.id), &row.backup_login)?,
            stream_key: self.keyring().unseal(key_of(row.id), &row.stream_key)?,
            id: row.id,
            project_id: row.project_id,
            platform: row.platform,
            name: row.name,
            rtmp_url: row.rtmp_url,
            backup_url: row.backup_url,
            enabled: row.enabled,
            delay_seconds: row.delay_seconds.try_into().unwrap_or(0),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

impl Store {
    /// Adds a destination to a project of `owner`. [`Error::NotFound`] if there is no such project.
    pub async fn add_destination(&self, owner: Uuid, project: Uuid, new: NewDestination) -> Result<Destination, Error> {
        self.add_destination_within(owner, project, new, u64::MAX).await
    }

    /// The same with a limit: [`Error::Quota`] if the project has `quota` destinations, also under concurrent calls.
    pub async fn add_destination_within(
        &self,
        owner: Uuid,
        project: Uuid,
        new: NewDestination,
        quota: u64,
    ) -> Result<Destination, Error> {
        let id = Uuid::now_v7();
        let now = Moment::now();
        let (rtmp_url, rtmp_login) = server_url::sealed(self.keyring(), login_of(id), &new.rtmp_url, None)?;
        let (backup_url, backup_login) =
            server_url::sealed_if_any(self.keyring(), backup_login_of(id), new.backup_url, None)?;
        let row = destination::ActiveModel {
            id: Set(id),
            project_id: Set(project),
            platform: Set(new.platform),
            name: Set(new.name),
            rtmp_url: Set(rtmp_url),
            rtmp_login: Set(rtmp_login),
            backup_url: Set(backup_url),
            backup_login: Set(backup_login),
            stream_key: Set(self.keyring().seal(key_of(id), new.stream_key.expose_secret())?),
            enabled: Set(new.enabled),
            delay_seconds: Set(new.delay_seconds.into()),
            created_at: Set(now),
            updated_at: Set(now),
        };
        self.require_project(owner, project).await?;
        // Checked first without the writer, so that an account at its limit does not block others.
        require_room(self.reader(), project, quota).await?;
        let transaction = self.begin().await.map_err(Error::writing(THE_DESTINATION))?;
        self.locked_project(&transaction, owner, project).await?;
        require_room(&transaction, project, quota).await?;
        let row = row.insert(&transaction).await.map_err(Error::adding(THE_DESTINATION))?;
        let changes = changes(None, Some(&row));
        let entry = Entry::new(owner, Action::DestinationAdded).about(&row.name).with(changes);
        self.commit(transaction, THE_DESTINATION, entry).await?;
        self.unsealed_destination(row)
    }

    /// Applies a change in one transaction. A change without effect writes nothing.
    pub async fn change_destination(
        &self,
        owner: Uuid,
        id: Uuid,
        change: DestinationChange,
    ) -> Result<Destination, Error> {
        self.revise_destination(owner, id, |_, _| Ok(change)).await
    }

    /// The same for a change that is computed from the current, masked server URLs; the row is locked meanwhile.
    pub async fn revise_destination<E: From<Error>>(
        &self,
        owner: Uuid,
        id: Uuid,
        decide: impl FnOnce(&str, Option<&str>) -> Result<DestinationChange, E>,
    ) -> Result<Destination, E> {
        let transaction = self.begin().await.map_err(Error::writing(THE_DESTINATION))?;
        let old = self.locked_destination(&transaction, owner, id).await?;
        let change = decide(&old.rtmp_url, old.backup_url.as_deref())?;
        let mut new = old.clone();
        new.platform = change.platform.unwrap_or(new.platform);
        new.name = change.name.unwrap_or(new.name);
        new.enabled = change.enabled.unwrap_or(new.enabled);
        new.delay_seconds = change.delay_seconds.map_or(new.delay_seconds, i32::from);
        if let Some(url) = change.rtmp_url {
            (new.rtmp_url, new.rtmp_login) = server_url::sealed(self.keyring(), login_of(id), &url, new.rtmp_login)?;
        }
        if let Some(url) = change.backup_url {
            (new.backup_url, new.backup_login) =
                server_url::sealed_if_any(self.keyring(), backup_login_of(id), url, new.backup_login)?;
        }
        // A key that cannot be decrypted may be replaced by any key.
        let is_known = |key: &SecretString| {
            let old = self.keyring().unseal(key_of(id), &old.stream_key);
            old.is_ok_and(|old| old.expose_secret() == key.expose_secret())
        };
        if let Some(key) = change.stream_key.filter(|key| !is_known(key)) {
            new.stream_key = self.keyring().seal(key_of(id), key.expose_secret())?;
        }
        let changes = changes(Some(&old), Some(&new));
        if changes.is_empty() {
            return Ok(self.unsealed_destination(old)?);
        }
        let action = match (changes.is_only("enabled"), new.enabled) {
            (true, true) => Action::RelayStarted,
            (true, false) => Action::RelayStopped,
            (false, _) => Action::DestinationChanged,
        };
        new.updated_at = Moment::now();
        let entry = Entry::new(owner, action).about(&new.name).with(changes);
        let changed = new.into_active_model().reset_all().update(&transaction).await;
        let row = changed.map_err(Error::writing(THE_DESTINATION))?;
        self.commit(transaction, THE_DESTINATION, entry).await?;
        Ok(self.unsealed_destination(row)?)
    }

    /// Deletes a destination and returns its project.
    pub async fn delete_destination(&self, owner: Uuid, id: Uuid) -> Result<Uuid, Error> {
        let transaction = self.begin().await.map_err(Error::writing(THE_DESTINATION))?;
        let old = self.locked_destination(&transaction, owner, id).await?;
        let deleted = destination::Entity::delete_by_id(id).exec(&transaction).await;
        deleted.map_err(Error::writing(THE_DESTINATION))?;
        let changes = changes(Some(&old), None);
        let entry = Entry::new(owner, Action::DestinationDeleted).about(&old.name).with(changes);
        self.commit(transaction, THE_DESTINATION, entry).await?;
        Ok(old.project_id)
    }

    /// A destination of `owner`, locked until the transaction ends. The account is locked first, as for a project.
    async fn locked_destination(
        &self,
        transaction: &DatabaseTransaction,
        owner: Uuid,
        id: Uuid,
    ) -> Result<destination::Model, Error> {
        lock_user(transaction, owner).await?;
        let found = destination::Entity::find().filter(owned(owner, id)).lock(LockType::NoKeyUpdate);
        let found = found.one(transaction).await;
        found.map_err(Error::reading(THE_DESTINATION))?.ok_or(Error::NotFound)
    }
}

/// [`Error::Quota`] if the project has `quota` destinations.
async fn require_room(connection: &impl ConnectionTrait, project: Uuid, quota: u64) -> Result<(), Error> {
    let count = destination::Entity::find()
        .filter(destination::Column::ProjectId.eq(project))
        .count(connection)
        .await;
    if count.map_err(Error::reading("The destinations"))? < quota { Ok(()) } else { Err(Error::Quota) }
}

/// The changed fields between two states of a row, for the audit log.
fn changes(old: Option<&destination::Model>, new: Option<&destination::Model>) -> Changes {
    let mut changes = Changes::default();
    changes.field("platform", old.map(|row| &row.platform), new.map(|row| &row.platform));
    changes.field("name", old.map(|row| &row.name), new.map(|row| &row.name));
    changes.field("rtmpUrl", old.map(|row| &row.rtmp_url), new.map(|row| &row.rtmp_url));
    changes.field(
        "backupUrl",
        old.and_then(|row| row.backup_url.as_ref()),
        new.and_then(|row| row.backup_url.as_ref()),
    );
    changes.field("delaySeconds", old.map(|row| &row.delay_seconds), new.map(|row| &row.delay_seconds));
    changes.field("enabled", old.map(|row| &row.enabled), new.map(|row| &row.enabled));
    if let (Some(old), Some(new)) = (old, new) {
        for (field, is_another) in [
            ("rtmpUrl", old.rtmp_login != new.rtmp_login),
            ("backupUrl", old.backup_login != new.backup_login),
            ("streamKey", old.stream_key != new.stream_key),
        ] {
            if is_another && !changes.has(field) {
                changes.secret(field);
            }
        }
    }
    changes
}

fn owned(owner: Uuid, id: Uuid) -> Condition {
    let of_owner = destination::Column::ProjectId.in_subquery(project::ids_of(owner));
    destination::Column::Id.eq(id).into_condition().add(of_owner)
}

pub(crate) fn key_of(destination: Uuid) -> Location {
    Location { table: "destinations", column: "stream_key", row: destination }
}

pub(crate) fn login_of(destination: Uuid) -> Location {
    Location { table: "destinations", column: "rtmp_login", row: destination }
}

pub(crate) fn backup_login_of(destination: Uuid) -> Location {
    Location { table: "destinations", column: "backup_login", row: destination }
}
