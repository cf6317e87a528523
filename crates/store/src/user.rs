//! Accounts: an email address and a password hash.

use std::fmt;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _,
    SqlErr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::{Action, Entry},
    database::{Reader, Store},
    entity::{moment::Moment, user},
    error::Error,
};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// UUID v7.
    pub id: Uuid,
    /// Trimmed and in lower case.
    pub email: String,
    /// Time of creation.
    pub created_at: OffsetDateTime,
    /// Time of the last change of the email address or password.
    pub updated_at: OffsetDateTime,
    /// Incremented whenever all logins of the account end, for example by a new password.
    pub login_version: i64,
}

/// An account with its password hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub user: User,
    /// As given to [`Store::add_user`] or [`Store::set_password`].
    pub password_hash: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password_hash", &"****").finish()
    }
}

impl From<user::Model> for User {
    fn from(row: user::Model) -> Self {
        Self {
            id: row.id,
            email: row.email,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            login_version: row.login_version,
        }
    }
}

impl Reader {
    /// The account with this id.
    pub async fn user(&self, id: Uuid) -> Result<Option<User>, Error> {
        let found = user::Entity::find_by_id(id).one(self.reader()).await;
        Ok(found.map_err(Error::reading("The account"))?.map(User::from))
    }

    /// The account with this address, in any letter case, and its password hash.
    pub async fn credentials(&self, email: &str) -> Result<Option<Credentials>, Error> {
        let found = user::Entity::find().filter(user::Column::Email.eq(normal(email))).one(self.reader()).await;
        let row = found.map_err(Error::reading("The account"))?;
        Ok(row.map(|row| Credentials { password_hash: row.password_hash.clone(), user: row.into() }))
    }
}

impl Store {
    /// Adds an account. [`Error::EmailTaken`] if the address is in use, in any letter case.
    pub async fn add_user(&self, email: &str, password_hash: &str) -> Result<User, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The account"))?;
        let user = insert_user(&transaction, email, password_hash).await?;
        self.commit(transaction, "The account", Entry::new(user.id, Action::AccountAdded)).await?;
        Ok(user)
    }
}

/// Adds an account in the caller's transaction. [`Error::EmailTaken`] if the address is in use, in any letter case.
pub(crate) async fn insert_user(
    transaction: &DatabaseTransaction,
    email: &str,
    password_hash: &str,
) -> Result<User, Error> {
    let now = Moment::now();
    let row = user::ActiveModel {
        id: Set(Uuid::now_v7()),
        email: Set(normal(email)),
        password_hash: Set(password_hash.to_owned()),
        login_version: Set(0),
        created_at: Set(now),
        updated_at: Set(now),
    };
    match row.insert(transaction).await {
        Ok(row) => Ok(row.into()),
        Err(error) => Err(match error.sql_err() {
            // The id is new, so the conflict must be the address.
            Some(SqlErr::UniqueConstraintViolation(_)) => Error::EmailTaken,
            _ => Error::writing("The account")(error),
        }),
    }
}

/// The canonical form of an address: one account per address, however it is typed.
fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}
