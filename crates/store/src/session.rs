//! Sessions: who is logged in. They live here, so that a logout ends them for good and on every server.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    prelude::Expr,
    sea_query::{ExprTrait as _, Query},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    audit::Entry,
    database::Store,
    entity::{moment::Moment, session, user},
    error::Error,
    user::User,
};

/// Browsers send up to this much to say what they are; the rest says nothing to a person.
const AGENT_CHARS_MAX: usize = 255;

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// UUID v7.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// What the browser called itself.
    pub agent: Option<String>,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// From when on it counts no more.
    pub expires_at: OffsetDateTime,
}

impl From<session::Model> for Session {
    fn from(row: session::Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            agent: row.agent,
            created_at: row.created_at.into(),
            expires_at: row.expires_at.into(),
        }
    }
}

impl Store {
    /// Logs a user in. `agent` is what the browser calls itself. [`Error::NotFound`] if the account is gone.
    pub async fn start_session(
        &self,
        user: Uuid,
        expires_at: OffsetDateTime,
        agent: Option<&str>,
    ) -> Result<Session, Error> {
        let transaction = self.begin().await.map_err(Error::writing("The session"))?;
        let session = insert(&transaction, user, expires_at, agent).await?;
        self.commit(transaction, "The session", Entry::new(user, "login")).await?;
        Ok(session)
    }

    /// Who is logged in with this session; nobody once it has ended or expired.
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

    /// The sessions of a user that count, newest first.
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

    /// Ends a session of this user. [`Error::NotFound`] if there is no such session.
    pub async fn end_session_of(&self, user: Uuid, session: Uuid) -> Result<(), Error> {
        let which = session::Column::Id.eq(session).and(session::Column::UserId.eq(user));
        match self.delete_sessions(which, "session_ended").await? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    /// Logs out. Fine if the session has ended already.
    pub async fn end_session(&self, session: Uuid) -> Result<(), Error> {
        self.delete_sessions(session::Column::Id.eq(session), "logout").await.map(drop)
    }

    /// Logs a user out everywhere, and tells of how many sessions.
    pub async fn end_sessions(&self, user: Uuid) -> Result<u64, Error> {
        self.delete_sessions(session::Column::UserId.eq(user), "signed_out_everywhere").await
    }

    /// Forgets the sessions that have expired by `now`, and tells how many.
    pub async fn prune_sessions(&self, now: OffsetDateTime) -> Result<u64, Error> {
        let which = session::Column::ExpiresAt.lte(Moment::from(now));
        let deleted = session::Entity::delete_many().filter(which).exec(self.writer()).await;
        Ok(deleted.map_err(Error::writing("The sessions"))?.rows_affected)
    }

    /// Deletes sessions of one user.
    async fn delete_sessions(&self, which: Expr, action: &'static str) -> Result<u64, Error> {
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

/// A new session, in a transaction that somebody else ends.
pub(crate) async fn insert(
    transaction: &DatabaseTransaction,
    user: Uuid,
    expires_at: OffsetDateTime,
    agent: Option<&str>,
) -> Result<Session, Error> {
    let row = session::ActiveModel {
        id: Set(Uuid::now_v7()),
        user_id: Set(user),
        agent: Set(agent.map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect())),
        created_at: Set(Moment::now()),
        expires_at: Set(expires_at.into()),
    };
    row.insert(transaction).await.map(Session::from).map_err(Error::adding("The session"))
}
