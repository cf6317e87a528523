//! Opening a store: the database's tables are brought up to date, and the secret key is checked.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};
use sqlx::sqlite::SqliteConnectOptions;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

use crate::{
    canary, clear_logins,
    database::{Store, mark, open_postgres, open_postgres_alone, open_sqlite, open_sqlite_alone, sqlite_options},
    error::Error,
    migration::Migrator,
    secret::Keyring,
};

/// PostgreSQL's advisory lock that one starting server holds while it migrates: "gostream" in ASCII.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"gostream");

/// What to do with a database that was never written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Make the tables.
    IfEmpty,
    /// Leave it.
    Not,
}

async fn open_any(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    match url.split_once(':') {
        Some(("sqlite", _)) => open_sqlite(sqlite_options(url)?).await,
        Some(("postgres" | "postgresql", _)) => open_postgres(url).await,
        _ => Err(Error::Url),
    }
}

impl Store {
    /// Opens `sqlite:///path/file.db` (made if missing, for this user only) or `postgres://…`, and brings its tables up
    /// to date. [`Error::WrongSecretKey`] if the database was written with other keys.
    pub async fn open(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::IfEmpty).await
    }

    /// The same for a database that was written to before: [`Error::Empty`], and nothing is changed, for one that was not.
    pub async fn open_existing(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::Not).await
    }

    /// The same while nobody else has the database open, and nobody else may open it: [`Error::InUse`].
    pub(crate) async fn open_alone(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let connection = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite_alone(sqlite_options(url)?).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres_alone(url).await?,
            _ => return Err(Error::Url),
        };
        Self::prepared(connection.clone(), connection, keyring, Begin::IfEmpty).await
    }

    /// The same with a SQLite file.
    pub(crate) async fn open_options(options: SqliteConnectOptions, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_sqlite(options).await?;
        Self::prepared(reader, writer, keyring, Begin::IfEmpty).await
    }

    async fn prepared(
        reader: DatabaseConnection,
        writer: DatabaseConnection,
        keyring: Keyring,
        begin: Begin,
    ) -> Result<Self, Error> {
        let store = Self::new(reader, writer, keyring);
        match store.prepare(begin).await {
            Ok(()) => Ok(store),
            Err(error) => {
                // Whoever tries another key next finds no connection of this one.
                store.close().await;
                Err(error)
            }
        }
    }

    /// Migrates and checks the key in one transaction, so that servers that start together take turns.
    async fn prepare(&self, begin: Begin) -> Result<(), Error> {
        let failed = |error: DbErr| Error::Migrate(error.into());
        let transaction = self.begin().await.map_err(failed)?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A migration may take its time, and so may another server's that we wait for.
            let lock = format!("SET LOCAL statement_timeout TO 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            transaction.execute_unprepared(&lock).await.map_err(failed)?;
        }
        if begin == Begin::Not && !SchemaManager::new(&transaction).has_table("canary").await.map_err(failed)? {
            return Err(Error::Empty);
        }
        // The library would announce each step, in words of its own.
        Migrator::up(&transaction, None).with_subscriber(NoSubscriber::new()).await.map_err(failed)?;
        canary::check(self.keyring(), &transaction).await?;
        mark(&transaction).await.map_err(failed)?;
        let sealed = clear_logins::seal_all(self.keyring(), &transaction).await?;
        transaction.commit().await.map_err(failed)?;
        if sealed > 0 {
            self.scrub().await;
        }
        Ok(())
    }
}
