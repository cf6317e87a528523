//! Sessions: logins of users. They are stored here so that a logout takes effect at once and on every server.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    prelude::Expr,
    sea_query::{ExprTrait as _, Order, Query},
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    audit::{Action, Entry},
    database::{Reader, Store},
    entity::{moment::Moment, session, user},
    error::Error,
    lock::lock_user,
    user::{User, insert_user},
};

/// Characters kept of a `User-Agent`; more is not informative.
const AGENT_CHARS_MAX: usize = 255;
/// Sessions per account. Nobody has this many browsers; a program that logs in each time would fill the list.
pub const SESSIONS_MAX: u64 = 100;
/// The last use of a session is written at most this often.
const USE_NOTED: Duration = Duration::MINUTE;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// UUID v7.
    pub id: Uuid,
    /// The account.
    pub user_id: Uuid,
    /// The `User-Agent` of the login.
    pub agent: Option<String>,
    /// Time of the login.
    pub created_at: OffsetDateTime,
    /// Time of expiry.
    pub expires_at: OffsetDateTime,
    /// The client address of the last use, updated once a minute.
    pub address: Option<String>,
    /// Time of the last use, updated once a minute.
    pub last_seen_at: Option<OffsetDateTime>,
}

/// A new session, from the address of the store handle.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// See [`Session::expires_at`].
    pub expires_at: OffsetDateTime,
    /// See [`Session::agent`].
    pub agent: Option<&'a str>,
}

impl From<session::Model> for Session {
    fn from(row: session::Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            agent: row.agent,
            created_at: row.created_at.into(),
            expires_at: row.expires_at.into(),
            address: row.address,
            last_seen_at: row.last_seen_at.map(OffsetDateTime::from),
        }
    }
}

impl Reader {
    /// The user of a session; `None` once it has ended or expired.
    pub async fn session_user(&self, session: Uuid) -> Result<Option<User>, Error> {
        let current = Query::select()
            .column(session::Column::UserId)
            .from(session::Entity)
            .and_where(session::Column::Id.eq(session))
            .and_where(session::Column::ExpiresAt.gt(Moment::now()))
            .take();
        let found = user::Entity::find().filter(user::Column::Id.in_subquery(current)).one(self.reader()).await;
        Ok(found.map_err(Error::reading("The session"))?.map(User::from))
    }

    /// The valid sessions of a user, newest first.
    pub async fn sessions(&self, user: Uuid) -> Result<Vec<Session>, Error> {
        let found = session::Entity::find()
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::ExpiresAt.gt(Moment::now()))
            .order_by_desc(session::Column::CreatedAt)
            .order_by_desc(session::Column::Id)
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The sessions"))?.into_iter().map(Session::from).collect())
    }
}

impl Store {
    /// Adds an account and a session for it, in one transaction.
    pub async fn sign_up(
        &self,
        email: &str,
        password_hash: &str,
        new: NewSession<'_>,
    ) -> Result<(User, Session), Error> {
        let transaction = self.begin().await.map_err(Error::writing("The account"))?;
        let user = insert_user(&transaction, email, password_hash).await?;
        let session = self.add_session(&transaction, user.id, new).await?;
        self.commit(transaction, "The account", Entry::new(user.id, Action::Signup)).await?;
        Ok((user, session))
    }

    /// Starts a session. `user` is the account as of the password check: [`Error::LoginsEnded`] if its logins ended
    /// since, [`Error::NotFound`] if the account is gone. Beyond [`SESSIONS_MAX`], the oldest sessions end.
    pub async fn start_session(&self, user: &User, new: NewSession<'_>) -> Result<Session, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The session"))?;
        if lock_user(&transaction, user.id).await?.login_version != user.login_version {
            return Err(Error::LoginsEnded);
        }
        let session = self.add_session(&transaction, user.id, new).await?;
        self.commit(transaction, "The session", Entry::new(user.id, Action::Login)).await?;
        Ok(session)
    }

    /// Adds a session in the caller's transaction, which holds the lock of the account.
    pub(crate) async fn add_session(
        &self,
        transaction: &DatabaseTransaction,
        user: Uuid,
        new: NewSession<'_>,
    ) -> Result<Session, Error> {
        let now = Moment::now();
        let row = session::ActiveModel {
            id: Set(Uuid::now_v7()),
            user_id: Set(user),
            agent: Set(new.agent.map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect())),
            created_at: Set(now),
            expires_at: Set(new.expires_at.into()),
            address: Set(self.address.map(|address| address.to_string())),
            last_seen_at: Set(Some(now)),
        };
        let row = row.insert(transaction).await.map_err(Error::adding("The session"))?;
        let kept = Query::select()
            .column(session::Column::Id)
            .from(session::Entity)
            .and_where(session::Column::UserId.eq(user))
            .order_by(session::Column::CreatedAt, Order::Desc)
            .order_by(session::Column::Id, Order::Desc)
            .limit(SESSIONS_MAX)
            .take();
        let oldest = session::Column::UserId.eq(user).and(session::Column::Id.not_in_subquery(kept));
        let ended = session::Entity::delete_many().filter(oldest).exec(transaction).await;
        ended.map_err(Error::writing("The sessions"))?;
        Ok(row.into())
    }

    /// Like [`Reader::session_user`], and records time and address of the use. A failure to record does not deny
    /// access.
    pub async fn use_session(&self, session: Uuid, address: Option<&str>) -> Result<Option<User>, Error> {
        let found = session::Entity::find_by_id(session)
            .filter(session::Column::ExpiresAt.gt(Moment::now()))
            .find_also_related(user::Entity)
            .one(self.reader())
            .await;
        let Some((row, owner)) = found.map_err(Error::reading("The session"))? else { return Ok(None) };
        let now = OffsetDateTime::now_utc();
        if row.last_seen_at.is_none_or(|seen| now - OffsetDateTime::from(seen) >= USE_NOTED) {
            let seen = session::ActiveModel {
                last_seen_at: Set(Some(now.into())),
                address: Set(address.map(str::to_owned).or(row.address)),
                ..Default::default()
            };
            let which = session::Column::Id.eq(row.id);
            let noted = session::Entity::update_many().set(seen).filter(which).exec(self.writer()).await;
            if let Err(error) = noted.map_err(Error::writing("The session")) {
                tracing::warn!(%error, "The use of a session could not be recorded.");
            }
        }
        Ok(owner.map(User::from))
    }

    /// Ends a session of this user. [`Error::NotFound`] if there is no such session.
    pub async fn end_session_of(&self, user: Uuid, session: Uuid) -> Result<(), Error> {
        let which = session::Column::Id.eq(session).and(session::Column::UserId.eq(user));
        match self.delete_sessions(which, Action::SessionEnded).await? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    /// Ends a session; no error if it has already ended.
    pub async fn end_session(&self, session: Uuid) -> Result<(), Error> {
        self.delete_sessions(session::Column::Id.eq(session), Action::Logout).await.map(drop)
    }

    /// Deletes sessions that expired before `now`, and returns their number.
    pub async fn prune_sessions(&self, now: OffsetDateTime) -> Result<u64, Error> {
        let which = session::Column::ExpiresAt.lte(Moment::from(now));
        let deleted = session::Entity::delete_many().filter(which).exec(self.writer()).await;
        Ok(deleted.map_err(Error::writing("The sessions"))?.rows_affected)
    }

    /// Deletes sessions of one user.
    async fn delete_sessions(&self, which: Expr, action: Action) -> Result<u64, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The sessions"))?;
        let deleted = session::Entity::delete_many().filter(which).exec_with_returning(&transaction).await;
        let deleted = deleted.map_err(Error::writing("The sessions"))?;
        if let Some(session) = deleted.first() {
            let agent = Some(session.agent.clone()).filter(|_| deleted.len() == 1).flatten();
            let mut entry = Entry::new(session.user_id, action);
            entry.object = agent;
            self.commit(transaction, "The sessions", entry).await?;
        }
        Ok(deleted.len() as u64)
    }
}
