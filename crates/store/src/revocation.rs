//! Revokes access to an account: all sessions and, on request, its API tokens and stream keys.
//!
//! Each revocation locks the account's row and increments its `login_version`. A login that was checked earlier, such
//! as one whose password is still being hashed, compares that number under the same lock and fails afterwards.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use crate::{
    audit::{Action, Entry},
    database::Store,
    entity::{api_token, moment::Moment, project, session, user},
    error::Error,
    lock::lock_user,
    session::{NewSession, Session},
    user::User,
};

/// What to revoke in addition to the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Every API token.
    pub tokens: bool,
    /// The stream key of every project; each gets a new one.
    pub stream_keys: bool,
}

impl Revoke {
    /// Only the sessions.
    pub const SESSIONS: Self = Self { tokens: false, stream_keys: false };
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The account after the revocation; a new session may start with it.
    pub user: User,
    /// Number of sessions.
    pub sessions: u64,
    /// Number of tokens.
    pub tokens: u64,
    /// Projects with a new stream key. Connections that publish with the old key must be closed.
    pub renewed: Vec<Uuid>,
}

impl Revoked {
    /// Audit lines: the requested action, and one for each kind of access that was revoked.
    fn lines(&self, action: Action) -> Vec<Entry> {
        let mut lines = vec![Entry::new(self.user.id, action)];
        if self.tokens > 0 {
            lines.push(Entry::new(self.user.id, Action::TokensDeleted).about(self.tokens.to_string()));
        }
        if !self.renewed.is_empty() {
            let projects = format!("{} projects", self.renewed.len());
            lines.push(Entry::new(self.user.id, Action::StreamKeysRenewed).about(projects));
        }
        lines
    }
}

impl Store {
    /// Sets a new password and revokes every session and what `revoke` names, in one transaction. `checked` is the
    /// account as of the check of the request's login: [`Error::LoginsEnded`] if its logins ended since.
    pub async fn set_password(
        &self,
        user: Uuid,
        password_hash: &str,
        checked: Option<&User>,
        revoke: Revoke,
    ) -> Result<Revoked, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The password"))?;
        let (revoked, lines) = self.write_password(&transaction, user, password_hash, checked, revoke).await?;
        self.commit_all(transaction, "The password", &lines).await?;
        Ok(revoked)
    }

    /// The same for the logged-in user `checked`, who continues with a new session, created in the same transaction.
    pub async fn change_password(
        &self,
        checked: &User,
        password_hash: &str,
        revoke: Revoke,
        new: NewSession<'_>,
    ) -> Result<(Revoked, Session), Error> {
        let transaction = self.begin().await.map_err(Error::writing("The password"))?;
        let (revoked, lines) =
            self.write_password(&transaction, checked.id, password_hash, Some(checked), revoke).await?;
        let session = self.add_session(&transaction, checked.id, new).await?;
        self.commit_all(transaction, "The password", &lines).await?;
        Ok((revoked, session))
    }

    /// Ends every session of a user and what `revoke` names, in one transaction.
    pub async fn end_sessions(&self, user: Uuid, revoke: Revoke) -> Result<Revoked, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The sessions"))?;
        let change = lock_user(&transaction, user).await?.into_active_model();
        let revoked = self.revoke(&transaction, change, revoke).await?;
        self.commit_all(transaction, "The sessions", &revoked.lines(Action::SignedOutEverywhere)).await?;
        Ok(revoked)
    }

    /// Deletes an account with all its data, including its audit log. [`Error::NotFound`] if there is no such account.
    pub async fn remove_user(&self, user: Uuid) -> Result<(), Error> {
        let deleted = user::Entity::delete_by_id(user).exec(self.writer()).await;
        match deleted.map_err(Error::writing("The account"))?.rows_affected {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    async fn write_password(
        &self,
        transaction: &DatabaseTransaction,
        user: Uuid,
        password_hash: &str,
        checked: Option<&User>,
        revoke: Revoke,
    ) -> Result<(Revoked, Vec<Entry>), Error> {
        let row = lock_user(transaction, user).await?;
        if checked.is_some_and(|checked| checked.login_version != row.login_version) {
            return Err(Error::LoginsEnded);
        }
        let mut change = row.into_active_model();
        change.password_hash = Set(password_hash.to_owned());
        change.updated_at = Set(Moment::now());
        let revoked = self.revoke(transaction, change, revoke).await?;
        let lines = revoked.lines(Action::PasswordChanged);
        Ok((revoked, lines))
    }

    async fn revoke(
        &self,
        transaction: &DatabaseTransaction,
        mut account: user::ActiveModel,
        revoke: Revoke,
    ) -> Result<Revoked, Error> {
        account.login_version = Set(account.login_version.take().unwrap_or_default() + 1);
        let account = account.update(transaction).await.map_err(Error::writing("The account"))?;
        let ended = session::Entity::delete_many()
            .filter(session::Column::UserId.eq(account.id))
            .exec(transaction)
            .await
            .map_err(Error::writing("The sessions"))?;
        let tokens = match revoke.tokens {
            true => {
                let of_user = api_token::Column::UserId.eq(account.id);
                let ended = api_token::Entity::delete_many().filter(of_user).exec(transaction).await;
                ended.map_err(Error::writing("The tokens"))?.rows_affected
            }
            false => 0,
        };
        let renewed = match revoke.stream_keys {
            true => self.renew_stream_keys(transaction, account.id).await?,
            false => Vec::new(),
        };
        Ok(Revoked { user: account.into(), sessions: ended.rows_affected, tokens, renewed })
    }

    async fn renew_stream_keys(&self, transaction: &DatabaseTransaction, owner: Uuid) -> Result<Vec<Uuid>, Error> {
        let found = project::Entity::find()
            .filter(project::Column::UserId.eq(owner))
            .order_by_asc(project::Column::Id)
            .select_only()
            .column(project::Column::Id)
            .into_tuple::<Uuid>()
            .all(transaction)
            .await;
        let projects = found.map_err(Error::reading("The projects"))?;
        for &id in &projects {
            let key = self.new_stream_key(id)?;
            let change = project::ActiveModel {
                stream_key: Set(key.sealed),
                stream_key_hash: Set(key.hash),
                updated_at: Set(Moment::now()),
                ..Default::default()
            };
            let changed = project::Entity::update_many()
                .set(change)
                .filter(project::Column::Id.eq(id))
                .exec(transaction)
                .await;
            changed.map_err(Error::writing("The stream keys"))?;
        }
        Ok(projects)
    }
}
