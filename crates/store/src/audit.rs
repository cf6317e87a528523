//! The audit log: who changed what, from which address, with old and new values. A change and its audit line are
//! written in one transaction, so neither exists without the other.

use std::net::IpAddr;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
    prelude::Expr,
    sea_query::{ExprTrait as _, Order, Query},
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

pub use self::action::Action;
use crate::{
    database::{Reader, Store},
    entity::{audit, moment::Moment},
    error::Error,
    lock::lock_user,
};

mod action;

/// Actions recorded after a correct password.
const LOGINS: [Action; 2] = [Action::Login, Action::Signup];
/// At most this many login addresses of a user are returned.
const ADDRESSES_MAX: u64 = 256;
/// Actions that concern access to the account. They are limited separately from other changes, of which a script, or an
/// attacker, can make thousands.
const ACCESS: [Action; 11] = [
    Action::AccountAdded,
    Action::Signup,
    Action::Login,
    Action::Logout,
    Action::SessionEnded,
    Action::SignedOutEverywhere,
    Action::PasswordChanged,
    Action::TokenCreated,
    Action::TokenDeleted,
    Action::TokensDeleted,
    Action::StreamKeysRenewed,
];
/// Failed attempts by others. They are counted together, and limited separately from the owner's lines.
const FAILURES: [Action; 1] = [Action::LoginFailed];
/// Audit lines kept per account, for access and for other changes each; the newest are kept.
const LINES_MAX: u64 = 2_000;
/// Old lines are deleted with one in this many new lines.
const LINES_PRUNED: u128 = 64;
/// Characters kept of a value.
const VALUE_CHARS_MAX: usize = 200;
/// Failures from one address within this time share one line.
const FAILURES_FOLDED: Duration = Duration::HOUR;
/// Addresses with lines of their own within that time; all others share one line.
const FAILURE_LINES_MAX: u64 = 8;
/// Failure lines returned in addition to the other lines.
const FAILURES_SHOWN: u64 = 50;
/// Shown instead of a secret value.
const SECRET: &str = "****";

/// One audit line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Time of the action; of the last one, for counted failures.
    pub at: OffsetDateTime,
    /// The action: a name of [`Action`], or a name that another version wrote.
    pub action: String,
    /// The name of the changed object.
    pub object: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The changed fields.
    pub changes: Vec<FieldChange>,
    /// Number of occurrences; above 1 only for failures.
    pub count: u64,
}

/// A changed field. Secrets are shown as `****`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's name in the API.
    pub field: String,
    /// The old value; `None` for a new object.
    #[serde(default)]
    pub old: Option<String>,
    /// The new value; `None` for a removed one.
    #[serde(default)]
    pub new: Option<String>,
}

/// Collects changed fields.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<FieldChange>);

impl Changes {
    /// Adds a field if it is given and differs.
    pub(crate) fn field<T: PartialEq + ToString>(&mut self, field: &str, old: Option<&T>, new: Option<&T>) {
        if old != new {
            let (old, new) = (old.map(|old| cut(&old.to_string())), new.map(|new| cut(&new.to_string())));
            self.0.push(FieldChange { field: field.to_owned(), old, new });
        }
    }

    /// Adds a changed secret.
    pub(crate) fn secret(&mut self, field: &str) {
        let value = || Some(SECRET.to_owned());
        self.0.push(FieldChange { field: field.to_owned(), old: value(), new: value() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the only changed field.
    pub(crate) fn is_only(&self, field: &str) -> bool {
        self.0.len() == 1 && self.has(field)
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.iter().any(|change| change.field == field)
    }
}

/// A value, cut to [`VALUE_CHARS_MAX`].
fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// The lines of an account of the same kind: access, other changes, or failures.
fn lines_like(user: Uuid, action: Action) -> Condition {
    let kind = match action {
        _ if FAILURES.contains(&action) => audit::Column::Action.is_in(FAILURES.map(Action::name)),
        _ if ACCESS.contains(&action) => audit::Column::Action.is_in(ACCESS.map(Action::name)),
        _ => audit::Column::Action.is_not_in(ACCESS.into_iter().chain(FAILURES).map(Action::name)),
    };
    Condition::all().add(audit::Column::UserId.eq(user)).add(kind)
}

/// A line to be written.
#[derive(Debug)]
pub(crate) struct Entry {
    user: Uuid,
    action: Action,
    pub(crate) object: Option<String>,
    changes: Vec<FieldChange>,
}

impl Entry {
    pub(crate) fn new(user: Uuid, action: Action) -> Self {
        Self { user, action, object: None, changes: Vec::new() }
    }

    /// Sets the object's name.
    pub(crate) fn about(self, object: impl Into<String>) -> Self {
        Self { object: Some(cut(&object.into())), ..self }
    }

    pub(crate) fn with(self, changes: Changes) -> Self {
        Self { changes: changes.0, ..self }
    }

    async fn insert(&self, connection: &impl ConnectionTrait, address: Option<IpAddr>) -> Result<(), Error> {
        // Only strings, so serialisation cannot fail.
        let changes = Some(&self.changes).filter(|changes| !changes.is_empty());
        let id = Uuid::now_v7();
        let row = audit::ActiveModel {
            id: Set(id),
            user_id: Set(self.user),
            at: Set(Moment::now()),
            action: Set(self.action.name().to_owned()),
            object: Set(self.object.clone()),
            address: Set(address.map(|address| address.to_string())),
            changes: Set(changes.and_then(|changes| serde_json::to_string(changes).ok())),
            count: Set(1),
        };
        let added = audit::Entity::insert(row).exec_without_returning(connection).await;
        added.map_err(Error::adding("The audit log"))?;
        if id.as_u128().is_multiple_of(LINES_PRUNED) {
            self.forget_oldest(connection).await?;
        }
        Ok(())
    }

    /// Deletes the oldest lines of this kind.
    async fn forget_oldest(&self, connection: &impl ConnectionTrait) -> Result<(), Error> {
        let kept = Query::select()
            .column(audit::Column::Id)
            .from(audit::Entity)
            .cond_where(lines_like(self.user, self.action))
            .order_by(audit::Column::Id, Order::Desc)
            .limit(LINES_MAX)
            .take();
        let gone = audit::Entity::delete_many()
            .filter(lines_like(self.user, self.action))
            .filter(audit::Column::Id.not_in_subquery(kept))
            .exec(connection)
            .await;
        gone.map(drop).map_err(Error::writing("The audit log"))
    }

    /// Writes the line to the server's log without values, because more people read that log than may see the account's
    /// data. Actions from the command line have no address and are not logged: the operator knows them.
    fn log(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let fields: Vec<_> = self.changes.iter().map(|change| change.field.as_str()).collect();
        tracing::info!(
            audit.action = self.action.name(),
            audit.user = %self.user,
            audit.object = self.object.as_deref(),
            audit.address = %address,
            audit.changes = Some(fields.join(", ")).filter(|fields| !fields.is_empty()),
            "An account was used."
        );
    }
}

impl Reader {
    /// The newest `limit` lines about access, as many about other changes, and some failures, newest first.
    pub async fn audit(&self, user: Uuid, limit: u64) -> Result<Vec<AuditEntry>, Error> {
        let newest = async |like: Action, limit: u64| {
            let found = audit::Entity::find()
                .filter(lines_like(user, like))
                .order_by_desc(audit::Column::At)
                .order_by_desc(audit::Column::Id)
                .limit(limit)
                .all(self.reader())
                .await;
            found.map_err(Error::reading("The audit log"))
        };
        let mut rows = newest(ACCESS[0], limit).await?;
        rows.extend(newest(Action::ProjectChanged, limit).await?);
        rows.extend(newest(FAILURES[0], FAILURES_SHOWN).await?);
        rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.at.ms(), row.id)));
        Ok(rows.into_iter().map(AuditEntry::from).collect())
    }

    /// The distinct addresses from which a user logged in, as far as the log goes back.
    pub async fn login_addresses(&self, user: Uuid) -> Result<Vec<String>, Error> {
        let found = audit::Entity::find()
            .select_only()
            .column(audit::Column::Address)
            .distinct()
            .filter(audit::Column::UserId.eq(user))
            .filter(audit::Column::Action.is_in(LOGINS.map(Action::name)))
            .filter(audit::Column::Address.is_not_null())
            .limit(ADDRESSES_MAX)
            .into_tuple()
            .all(self.reader())
            .await;
        found.map_err(Error::reading("The audit log"))
    }
}

impl Store {
    /// A store handle for requests from `address`, which is recorded in the audit log. `None` means the server's
    /// operator.
    pub fn acting_from(&self, address: Option<IpAddr>) -> Self {
        let mut store = self.clone();
        store.address = address;
        store
    }

    /// Commits a transaction together with an audit line.
    pub(crate) async fn commit(
        &self,
        transaction: DatabaseTransaction,
        what: &'static str,
        entry: Entry,
    ) -> Result<(), Error> {
        self.commit_all(transaction, what, &[entry]).await
    }

    /// Commits a transaction together with several audit lines, in this order.
    pub(crate) async fn commit_all(
        &self,
        transaction: DatabaseTransaction,
        what: &'static str,
        entries: &[Entry],
    ) -> Result<(), Error> {
        for entry in entries {
            entry.insert(&transaction, self.address).await?;
        }
        transaction.commit().await.map_err(Error::writing(what))?;
        entries.iter().for_each(|entry| entry.log(self.address));
        Ok(())
    }

    /// Writes an audit line for an action that changed no row. [`Error::NotFound`] if the account is gone.
    pub async fn add_audit(&self, user: Uuid, action: Action, object: Option<String>) -> Result<(), Error> {
        let entry = Entry { user, action, object, changes: Vec::new() };
        entry.insert(self.writer(), self.address).await?;
        entry.log(self.address);
        Ok(())
    }

    /// Counts a failed login. Each hour has one line for each of the first addresses, and one for all others.
    pub async fn add_login_failure(&self, user: Uuid) -> Result<(), Error> {
        let failed = Error::writing;
        let transaction = self.begin().await.map_err(failed("The audit log"))?;
        lock_user(&transaction, user).await?;
        let action = FAILURES[0];
        let address = self.address.map(|address| address.to_string());
        // Selects by the time when a line began, which its id contains: a line selected by its last failure could be
        // extended for ever.
        let since = first_id(OffsetDateTime::now_utc() - FAILURES_FOLDED);
        let recent = lines_like(user, action).add(audit::Column::Id.gte(since));
        let count = async |line: Expr| {
            let counted = audit::Entity::update_many()
                .col_expr(audit::Column::Count, Expr::col(audit::Column::Count).add(1))
                .col_expr(audit::Column::At, Expr::value(Moment::now()))
                .filter(recent.clone().add(line))
                .exec(&transaction)
                .await;
            Ok::<_, Error>(counted.map_err(failed("The audit log"))?.rows_affected > 0)
        };
        let is_counted = match &address {
            Some(address) => count(audit::Column::Address.eq(address.as_str())).await?,
            None => false,
        };
        let lines = audit::Entity::find().filter(recent.clone()).count(&transaction).await;
        let is_full = lines.map_err(Error::reading("The audit log"))? >= FAILURE_LINES_MAX;
        if !(is_counted || is_full && count(audit::Column::Address.is_null()).await?) {
            Entry::new(user, action).insert(&transaction, self.address.filter(|_| !is_full)).await?;
        }
        transaction.commit().await.map_err(failed("The audit log"))
    }

    /// Deletes lines from before a time, and returns their number.
    pub async fn forget_audit(&self, before: OffsetDateTime) -> Result<u64, Error> {
        let gone = audit::Entity::delete_many()
            .filter(audit::Column::At.lt(Moment::from(before)))
            .exec(self.writer())
            .await;
        Ok(gone.map_err(Error::writing("The audit log"))?.rows_affected)
    }
}

/// The lowest id (UUID v7, RFC 9562 section 5.7) of a millisecond.
fn first_id(at: OffsetDateTime) -> Uuid {
    Uuid::from_u128(u128::from(Moment::from(at).ms().unsigned_abs()) << 80)
}

impl From<audit::Model> for AuditEntry {
    fn from(row: audit::Model) -> Self {
        let changes = row.changes.as_deref().map(serde_json::from_str);
        Self {
            at: row.at.into(),
            action: row.action,
            object: row.object,
            address: row.address,
            // Only a row written by another program can be unreadable.
            changes: changes.and_then(Result::ok).unwrap_or_default(),
            count: u64::try_from(row.count).unwrap_or(1),
        }
    }
}
