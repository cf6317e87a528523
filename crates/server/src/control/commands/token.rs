//! API tokens.

use gostream_store::{ApiToken, Error, NewToken, SecretString, User};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Creates a token for the user of `session`, unless the account has `max` already. The second value is the token
    /// itself.
    pub(crate) async fn create_token(
        &self,
        user: Uuid,
        session: Uuid,
        new: NewToken<'_>,
        max: u64,
    ) -> Result<(ApiToken, SecretString), Error> {
        self.store.add_token(user, session, new, max).await
    }

    /// Records the use of a token. Returns its user and metadata; `None` if it was revoked or has expired.
    pub(crate) async fn use_token(&self, token: &str) -> Result<Option<(User, ApiToken)>, Error> {
        self.store.token_user(token).await
    }

    /// Revokes a token.
    pub(crate) async fn delete_token(&self, user: Uuid, token: Uuid) -> Result<(), Error> {
        self.store.delete_token(user, token).await?;
        self.control.wakes.sessions_ended();
        Ok(())
    }
}
