//! API tokens.

use gostream_store::{ApiToken, Error, NewToken, SecretString, User};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Makes a token for the user who is logged in with `session`, of `max` at most. Gives the token itself as well.
    pub(crate) async fn create_token(
        &self,
        user: Uuid,
        session: Uuid,
        new: NewToken<'_>,
        max: u64,
    ) -> Result<(ApiToken, SecretString), Error> {
        self.store.add_token(user, session, new, max).await
    }

    /// Notes that a token was used. Gives its user and what it may do; none when it has ended.
    pub(crate) async fn use_token(&self, token: &str) -> Result<Option<(User, ApiToken)>, Error> {
        self.store.token_user(token).await
    }

    /// Ends a token.
    pub(crate) async fn delete_token(&self, user: Uuid, token: Uuid) -> Result<(), Error> {
        self.store.delete_token(user, token).await?;
        self.control.wakes.sessions_ended();
        Ok(())
    }
}
