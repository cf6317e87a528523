//! Destinations: saved places to send to. Their keys leave the database unsealed, for the relays alone.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, sea_query::IntoCondition as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::Store,
    entity::{destination, moment::Moment},
    error::Error,
    project,
    secret::Place,
};

/// A destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// UUID v7.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// An id of the catalogue, or `custom`; the store does not mind.
    pub platform: String,
    /// What the owner calls it.
    pub name: String,
    /// To the letter.
    pub rtmp_url: String,
    /// A second server of the platform; to the letter.
    pub backup_url: Option<String>,
    /// To the letter.
    pub stream_key: SecretString,
    /// Whether the owner wants it on.
    pub enabled: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When anything of it last changed.
    pub updated_at: OffsetDateTime,
}

/// What a new destination consists of.
#[derive(Clone, Debug)]
pub struct NewDestination {
    /// See [`Destination::platform`].
    pub platform: String,
    /// See [`Destination::name`].
    pub name: String,
    /// See [`Destination::rtmp_url`].
    pub rtmp_url: String,
    /// See [`Destination::backup_url`].
    pub backup_url: Option<String>,
    /// See [`Destination::stream_key`].
    pub stream_key: SecretString,
    /// See [`Destination::enabled`].
    pub enabled: bool,
}

/// What changes of a destination: all that is given.
#[derive(Clone, Debug, Default)]
pub struct DestinationChange {
    /// See [`Destination::platform`].
    pub platform: Option<String>,
    /// See [`Destination::name`].
    pub name: Option<String>,
    /// See [`Destination::rtmp_url`].
    pub rtmp_url: Option<String>,
    /// See [`Destination::backup_url`]; `Some(None)` takes it away.
    pub backup_url: Option<Option<String>>,
    /// See [`Destination::stream_key`].
    pub stream_key: Option<SecretString>,
    /// See [`Destination::enabled`].
    pub enabled: Option<bool>,
}

impl Store {
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

    /// How many destinations a project of this owner has. [`Error::NotFound`] if there is no such project.
    pub async fn count_destinations(&self, owner: Uuid, project: Uuid) -> Result<u64, Error> {
        self.require_project(owner, project).await?;
        let which = destination::Column::ProjectId.eq(project);
        let found = destination::Entity::find().filter(which).count(self.reader()).await;
        found.map_err(Error::reading("The destinations"))
    }

    /// A destination of this owner.
    pub async fn destination(&self, owner: Uuid, id: Uuid) -> Result<Option<Destination>, Error> {
        let found = destination::Entity::find().filter(owned(owner, id)).one(self.reader()).await;
        let row = found.map_err(Error::reading("The destination"))?;
        row.map(|row| self.unsealed_destination(row)).transpose()
    }

    /// Adds a destination to a project of this owner. [`Error::NotFound`] if there is no such project.
    pub async fn add_destination(&self, owner: Uuid, project: Uuid, new: NewDestination) -> Result<Destination, Error> {
        // A project never changes hands, and one that is deleted in between refuses the row.
        self.require_project(owner, project).await?;
        let id = Uuid::now_v7();
        let now = Moment::now();
        let row = destination::ActiveModel {
            id: Set(id),
            project_id: Set(project),
            platform: Set(new.platform),
            name: Set(new.name),
            rtmp_url: Set(new.rtmp_url),
            backup_url: Set(new.backup_url),
            stream_key: Set(self.keyring().seal(key_of(id), new.stream_key.expose_secret())?),
            enabled: Set(new.enabled),
            created_at: Set(now),
            updated_at: Set(now),
        };
        let row = row.insert(self.writer()).await.map_err(Error::adding("The destination"))?;
        self.unsealed_destination(row)
    }

    /// Changes what is given, in one step, and leaves the rest. A change of nothing is no change.
    pub async fn change_destination(
        &self,
        owner: Uuid,
        id: Uuid,
        change: DestinationChange,
    ) -> Result<Destination, Error> {
        let sealed = change.stream_key.map(|key| self.keyring().seal(key_of(id), key.expose_secret())).transpose()?;
        let mut row = destination::ActiveModel {
            platform: change.platform.map(Set).unwrap_or_default(),
            name: change.name.map(Set).unwrap_or_default(),
            rtmp_url: change.rtmp_url.map(Set).unwrap_or_default(),
            backup_url: change.backup_url.map(Set).unwrap_or_default(),
            stream_key: sealed.map(Set).unwrap_or_default(),
            enabled: change.enabled.map(Set).unwrap_or_default(),
            ..Default::default()
        };
        if !row.is_changed() {
            return self.destination(owner, id).await?.ok_or(Error::NotFound);
        }
        row.updated_at = Set(Moment::now());
        let changed = destination::Entity::update_many()
            .set(row)
            .filter(owned(owner, id))
            .exec_with_returning(self.writer())
            .await;
        let row = changed.map_err(Error::writing("The destination"))?.pop().ok_or(Error::NotFound)?;
        self.unsealed_destination(row)
    }

    /// Deletes a destination and tells which project it was of.
    pub async fn delete_destination(&self, owner: Uuid, id: Uuid) -> Result<Uuid, Error> {
        let deleted =
            destination::Entity::delete_many().filter(owned(owner, id)).exec_with_returning(self.writer()).await;
        let row = deleted.map_err(Error::writing("The destination"))?.pop().ok_or(Error::NotFound)?;
        Ok(row.project_id)
    }

    fn unsealed_destination(&self, row: destination::Model) -> Result<Destination, Error> {
        Ok(Destination {
            stream_key: self.keyring().unseal(key_of(row.id), &row.stream_key)?,
            id: row.id,
            project_id: row.project_id,
            platform: row.platform,
            name: row.name,
            rtmp_url: row.rtmp_url,
            backup_url: row.backup_url,
            enabled: row.enabled,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

fn owned(owner: Uuid, id: Uuid) -> Condition {
    let of_owner = destination::Column::ProjectId.in_subquery(project::ids_of(owner));
    destination::Column::Id.eq(id).into_condition().add(of_owner)
}

pub(crate) fn key_of(destination: Uuid) -> Place {
    Place { table: "destinations", column: "stream_key", row: destination }
}
