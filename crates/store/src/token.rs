//! API tokens: what scripts log in with. Shown once, kept as a hash, ended one by one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, sea_query::ExprTrait as _,
};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    audit::Entry,
    database::Store,
    entity::{api_token, moment::Moment, user},
    error::Error,
    user::User,
};

/// What every token begins with, so that people and scanners of leaked secrets recognise it.
pub const TOKEN_PREFIX: &str = "gst_";
/// As many random bits as nobody guesses.
const TOKEN_BYTES: usize = 32;
/// When a token was last used is written down no more often than this.
const USE_NOTED: Duration = Duration::MINUTE;

/// A token, without what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// UUID v7.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    pub last_used_at: Option<OffsetDateTime>,
}

impl From<api_token::Model> for ApiToken {
    fn from(row: api_token::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at.into(),
            last_used_at: row.last_used_at.map(OffsetDateTime::from),
        }
    }
}

impl Store {
    /// Makes a token. The second value is the token itself, which nobody can ask for again. [`Error::NotFound`] if the account is
    /// gone.
    pub async fn add_token(&self, user: Uuid, name: &str) -> Result<(ApiToken, SecretString), Error> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let row = api_token::ActiveModel {
            id: Set(Uuid::now_v7()),
            user_id: Set(user),
            name: Set(name.to_owned()),
            hash: Set(hash(&token)),
            created_at: Set(Moment::now()),
            last_used_at: Set(None),
        };
        let transaction = self.begin().await.map_err(Error::writing("The token"))?;
        let row = row.insert(&transaction).await.map_err(Error::adding("The token"))?;
        self.commit(transaction, "The token", Entry::new(user, "token_created").about(name)).await?;
        Ok((row.into(), token.into()))
    }

    /// The tokens of a user, newest first.
    pub async fn tokens(&self, user: Uuid) -> Result<Vec<ApiToken>, Error> {
        let found = api_token::Entity::find()
            .filter(api_token::Column::UserId.eq(user))
            .order_by_desc(api_token::Column::CreatedAt)
            .order_by_desc(api_token::Column::Id)
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The tokens"))?.into_iter().map(ApiToken::from).collect())
    }

    /// Ends a token of this user. [`Error::NotFound`] if there is no such token.
    pub async fn delete_token(&self, user: Uuid, id: Uuid) -> Result<(), Error> {
        let which = api_token::Column::Id.eq(id).and(api_token::Column::UserId.eq(user));
        let transaction = self.begin().await.map_err(Error::writing("The token"))?;
        let deleted = api_token::Entity::delete_many().filter(which).exec_with_returning(&transaction).await;
        let row = deleted.map_err(Error::writing("The token"))?.pop().ok_or(Error::NotFound)?;
        self.commit(transaction, "The token", Entry::new(user, "token_deleted").about(row.name)).await
    }

    /// Whose token this is, and its id; nobody's once it was ended.
    pub async fn token_user(&self, token: &str) -> Result<Option<(User, Uuid)>, Error> {
        let found = api_token::Entity::find().filter(api_token::Column::Hash.eq(hash(token))).one(self.reader()).await;
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
            noted.map_err(Error::writing("The token"))?;
        }
        Ok(Some((owner.into(), row.id)))
    }

    /// Whether a token still counts.
    pub async fn has_token(&self, user: Uuid, id: Uuid) -> Result<bool, Error> {
        let which = api_token::Column::Id.eq(id).and(api_token::Column::UserId.eq(user));
        let found = api_token::Entity::find().filter(which).count(self.reader()).await;
        Ok(found.map_err(Error::reading("The token"))? > 0)
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
