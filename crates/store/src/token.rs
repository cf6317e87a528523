//! API tokens for scripts: shown once, stored as a hash, and revoked individually.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, prelude::Expr, sea_query::ExprTrait as _,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    audit::{Action, Entry},
    database::{Reader, Store},
    entity::{api_token, moment::Moment, session, user},
    error::Error,
    lock::lock_user,
    user::User,
};

/// The prefix of every token, so that people and secret scanners recognise it.
pub const TOKEN_PREFIX: &str = "gst_";
/// Enough random bytes that a token cannot be guessed.
const TOKEN_BYTES: usize = 32;
/// The last use of a token is written at most this often.
const USE_NOTED: Duration = Duration::MINUTE;

/// What a token permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TokenScope)]
pub enum Scope {
    /// Everything that its owner may do, except changing access to the account.
    #[default]
    Full,
    /// Reading, without stream keys.
    Read,
}

impl Scope {
    /// The value in the database and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }

    /// An unknown value permits the least.
    fn named(name: &str) -> Self {
        if name == Self::Full.name() { Self::Full } else { Self::Read }
    }
}

/// The fields of a new token.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// See [`ApiToken::name`].
    pub name: &'a str,
    /// See [`ApiToken::scope`].
    pub scope: Scope,
    /// See [`ApiToken::expires_at`].
    pub expires_at: Option<OffsetDateTime>,
}

/// A token's metadata, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// UUID v7.
    pub id: Uuid,
    /// The name given by the owner.
    pub name: String,
    /// Time of creation.
    pub created_at: OffsetDateTime,
    /// Time of the last use, to the minute.
    pub last_used_at: Option<OffsetDateTime>,
    /// What it permits.
    pub scope: Scope,
    /// Time of expiry, if any.
    pub expires_at: Option<OffsetDateTime>,
}

impl From<api_token::Model> for ApiToken {
    fn from(row: api_token::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at.into(),
            last_used_at: row.last_used_at.map(OffsetDateTime::from),
            scope: Scope::named(&row.scope),
            expires_at: row.expires_at.map(OffsetDateTime::from),
        }
    }
}

impl Reader {
    /// The valid tokens of a user, newest first.
    pub async fn tokens(&self, user: Uuid) -> Result<Vec<ApiToken>, Error> {
        let found = api_token::Entity::find()
            .filter(counting_of(user))
            .order_by_desc(api_token::Column::CreatedAt)
            .order_by_desc(api_token::Column::Id)
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The tokens"))?.into_iter().map(ApiToken::from).collect())
    }

    /// Whether a token is still valid.
    pub async fn has_token(&self, user: Uuid, id: Uuid) -> Result<bool, Error> {
        let found = api_token::Entity::find_by_id(id).filter(counting_of(user)).count(self.reader()).await;
        Ok(found.map_err(Error::reading("The token"))? > 0)
    }
}

impl Store {
    /// Adds a token for the user of `session`. The second value is the token itself, which cannot be read again.
    /// [`Error::LoginsEnded`] if the session ended after it was checked, [`Error::Quota`] if the account has `max`
    /// valid tokens.
    pub async fn add_token(
        &self,
        owner: Uuid,
        session: Uuid,
        new: NewToken<'_>,
        max: u64,
    ) -> Result<(ApiToken, SecretString), Error> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let transaction = self.begin().await.map_err(Error::writing("The token"))?;
        // Serialises this with a revocation of the sessions: no unnoticed token outlives the session that created it.
        lock_user(&transaction, owner).await?;
        let login = session::Entity::find_by_id(session).filter(session::Column::UserId.eq(owner));
        let login = login.filter(session::Column::ExpiresAt.gt(Moment::now())).count(&transaction).await;
        if login.map_err(Error::reading("The session"))? == 0 {
            return Err(Error::LoginsEnded);
        }
        let counting = api_token::Entity::find().filter(counting_of(owner)).count(&transaction).await;
        if counting.map_err(Error::reading("The tokens"))? >= max {
            return Err(Error::Quota);
        }
        let row = api_token::ActiveModel {
            id: Set(Uuid::now_v7()),
            user_id: Set(owner),
            name: Set(new.name.to_owned()),
            hash: Set(hash(&token)),
            created_at: Set(Moment::now()),
            last_used_at: Set(None),
            scope: Set(new.scope.name().to_owned()),
            expires_at: Set(new.expires_at.map(Moment::from)),
        };
        let row = row.insert(&transaction).await.map_err(Error::adding("The token"))?;
        self.commit(transaction, "The token", Entry::new(owner, Action::TokenCreated).about(new.name))
            .await?;
        Ok((row.into(), token.into()))
    }

    /// Revokes a token of this user. [`Error::NotFound`] if there is no such token.
    pub async fn delete_token(&self, user: Uuid, id: Uuid) -> Result<(), Error> {
        let which = api_token::Column::Id.eq(id).and(api_token::Column::UserId.eq(user));
        let transaction = self.begin().await.map_err(Error::writing("The token"))?;
        let deleted = api_token::Entity::delete_many().filter(which).exec_with_returning(&transaction).await;
        let row = deleted.map_err(Error::writing("The token"))?.pop().ok_or(Error::NotFound)?;
        self.commit(transaction, "The token", Entry::new(user, Action::TokenDeleted).about(row.name)).await
    }

    /// The user and metadata of a token; `None` once it was revoked or has expired.
    pub async fn token_user(&self, token: &str) -> Result<Option<(User, ApiToken)>, Error> {
        let counts = api_token::Column::Hash.eq(hash(token)).and(has_not_ended());
        let found = api_token::Entity::find().filter(counts).one(self.reader()).await;
        let Some(row) = found.map_err(Error::reading("The token"))? else { return Ok(None) };
        let owner = user::Entity::find_by_id(row.user_id).one(self.reader()).await;
        let Some(owner) = owner.map_err(Error::reading("The account"))? else { return Ok(None) };
        let now = OffsetDateTime::now_utc();
        if row.last_used_at.is_none_or(|used| now - OffsetDateTime::from(used) >= USE_NOTED) {
            let used = api_token::ActiveModel { last_used_at: Set(Some(now.into())), ..Default::default() };
            let noted = api_token::Entity::update_many()
                .set(used)
                .filter(api_token::Column::Id.eq(row.id))
                .exec(self.writer())
                .await;
            // A failure to record the use must not prevent it.
            if let Err(error) = noted {
                let cause = Error::writing("The token's last use")(error);
                tracing::warn!(error = %cause, "The use of an API token could not be recorded.");
            }
        }
        Ok(Some((owner.into(), row.into())))
    }

    /// Deletes tokens that expired before `now`, and returns their number.
    pub async fn prune_tokens(&self, now: OffsetDateTime) -> Result<u64, Error> {
        let ended = api_token::Column::ExpiresAt.lte(Moment::from(now));
        let deleted = api_token::Entity::delete_many().filter(ended).exec(self.writer()).await;
        Ok(deleted.map_err(Error::writing("The tokens"))?.rows_affected)
    }
}

/// The valid tokens of a user.
fn counting_of(user: Uuid) -> Expr {
    api_token::Column::UserId.eq(user).and(has_not_ended())
}

fn has_not_ended() -> Expr {
    api_token::Column::ExpiresAt.is_null().or(api_token::Column::ExpiresAt.gt(Moment::now()))
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
