//! Encrypts the logins of server URLs that an earlier version stored as plain text, when the database is opened.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait, QueryFilter as _, QuerySelect as _,
};
use uuid::Uuid;

use crate::{
    destination,
    entity::{destination as destinations, project as projects},
    error::Error,
    project,
    secret::Keyring,
    server_url,
};

/// Encrypts plain-text logins and returns their number.
pub(crate) async fn seal_all(keyring: &Keyring, transaction: &DatabaseTransaction) -> Result<usize, Error> {
    let mut done = 0;
    for (id, url) in clear::<projects::Entity>(transaction, projects::Column::Id, projects::Column::PullUrl).await? {
        let (url, login) = server_url::sealed(keyring, project::pull_login_of(id), &url, None)?;
        let change = projects::ActiveModel { pull_url: Set(Some(url)), pull_login: Set(login), ..Default::default() };
        write::<projects::Entity>(transaction, change, projects::Column::Id, id, &mut done).await?;
    }
    use destinations::{ActiveModel, Column, Entity};
    for (id, url) in clear::<Entity>(transaction, Column::Id, Column::RtmpUrl).await? {
        let (url, login) = server_url::sealed(keyring, destination::login_of(id), &url, None)?;
        let change = ActiveModel { rtmp_url: Set(url), rtmp_login: Set(login), ..Default::default() };
        write::<Entity>(transaction, change, Column::Id, id, &mut done).await?;
    }
    for (id, url) in clear::<Entity>(transaction, Column::Id, Column::BackupUrl).await? {
        let (url, login) = server_url::sealed(keyring, destination::backup_login_of(id), &url, None)?;
        let change = ActiveModel { backup_url: Set(Some(url)), backup_login: Set(login), ..Default::default() };
        write::<Entity>(transaction, change, Column::Id, id, &mut done).await?;
    }
    if done > 0 {
        tracing::info!(done, "Logins in server URLs are encrypted now.");
    }
    Ok(done)
}

/// The rows whose URL contains a plain-text login. Few URLs contain an `@` at all.
async fn clear<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    id: E::Column,
    url: E::Column,
) -> Result<Vec<(Uuid, String)>, Error> {
    let rows: Vec<(Uuid, String)> = E::find()
        .select_only()
        .column(id)
        .column(url)
        .filter(url.contains("@"))
        .into_tuple()
        .all(transaction)
        .await
        .map_err(Error::reading("The URLs"))?;
    Ok(rows.into_iter().filter(|(_, url)| server_url::split(url).1.is_some()).collect())
}

async fn write<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    change: impl sea_orm::ActiveModelTrait<Entity = E>,
    id: E::Column,
    row: Uuid,
    done: &mut usize,
) -> Result<(), Error> {
    let written = E::update_many().set(change).filter(id.eq(row)).exec(transaction).await;
    *done += 1;
    written.map(drop).map_err(Error::writing("The URLs"))
}
