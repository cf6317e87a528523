//! Accounts and their sessions.

use gostream_store::{Action, Error, NewSession, Revoke, Revoked, Session, User};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Adds an account and logs it in.
    pub(crate) async fn sign_up(
        &self,
        email: &str,
        password_hash: &str,
        new: NewSession<'_>,
    ) -> Result<(User, Session), Error> {
        self.store.sign_up(email, password_hash, new).await
    }

    /// Logs in a user after the password was verified.
    pub(crate) async fn log_in(&self, user: &User, new: NewSession<'_>) -> Result<Session, Error> {
        self.store.start_session(user, new).await
    }

    /// Records a wrong password.
    pub(crate) async fn count_login_failure(&self, user: Uuid) {
        if let Err(error) = self.store.add_login_failure(user).await {
            tracing::warn!(%error, audit.action = Action::LoginFailed.name(), audit.user = %user, "The audit log could not be written.");
        }
    }

    /// Records time and address of a session's use. Returns its user; `None` if the session has ended.
    pub(crate) async fn use_session(&self, session: Uuid) -> Result<Option<User>, Error> {
        let address = self.address.map(|address| address.to_string());
        self.store.use_session(session, address.as_deref()).await
    }

    /// Logs out a session.
    pub(crate) async fn log_out(&self, session: Uuid) -> Result<(), Error> {
        self.store.end_session(session).await?;
        self.control.wakes.sessions_ended();
        Ok(())
    }

    /// Ends one session of an account.
    pub(crate) async fn end_session(&self, user: Uuid, session: Uuid) -> Result<(), Error> {
        self.store.end_session_of(user, session).await?;
        self.control.wakes.sessions_ended();
        Ok(())
    }

    /// Ends all sessions of an account, and what `revoke` includes.
    pub(crate) async fn end_sessions(&self, user: Uuid, revoke: Revoke) -> Result<Revoked, Error> {
        let revoked = self.store.end_sessions(user, revoke).await?;
        self.apply_revoked(&revoked);
        Ok(revoked)
    }

    /// Sets a new password, ends all sessions and what `revoke` includes, and starts a new session.
    pub(crate) async fn change_password(
        &self,
        user: &User,
        password_hash: &str,
        revoke: Revoke,
        new: NewSession<'_>,
    ) -> Result<(Revoked, Session), Error> {
        let (revoked, session) = self.store.change_password(user, password_hash, revoke, new).await?;
        self.apply_revoked(&revoked);
        Ok((revoked, session))
    }

    /// Disconnects publishers with an old key. Open event streams check whether they may continue.
    fn apply_revoked(&self, revoked: &Revoked) {
        for &project in &revoked.renewed {
            self.control.key_disclosure.forget(project);
            self.close_publisher(project);
        }
        self.control.wakes.sessions_ended();
    }
}
