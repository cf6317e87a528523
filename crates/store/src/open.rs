//! Opening a store: runs migrations and checks the secret key.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};
use sqlx::sqlite::SqliteConnectOptions;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

use crate::{
    canary,
    database::{Store, mark, open_postgres, open_postgres_alone, open_sqlite, open_sqlite_alone, sqlite_options},
    error::Error,
    migration::Migrator,
    plaintext_logins,
    secret::Keyring,
};

/// The advisory lock of PostgreSQL that one starting server holds during migration: "gostream" in ASCII.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"gostream");

/// What to do with an empty database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Create the tables.
    IfEmpty,
    /// Refuse it.
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
    /// Opens `sqlite:///path/file.db` (created if missing, readable by its user only) or `postgres://…`, and runs the
    /// migrations. [`Error::WrongSecretKey`] if the database was encrypted with other keys.
    pub async fn open(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::IfEmpty).await
    }

    /// The same for an existing database: [`Error::Empty`] for an empty one, without changing it.
    pub async fn open_existing(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::Not).await
    }

    /// The same with exclusive access: [`Error::InUse`] if another process has the database open.
    pub(crate) async fn open_alone(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let connection = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite_alone(sqlite_options(url)?).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres_alone(url).await?,
            _ => return Err(Error::Url),
        };
        Self::prepared(connection.clone(), connection, keyring, Begin::IfEmpty).await
    }

    /// The same with options for a SQLite file.
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
                // Otherwise the next attempt with another key would find this connection.
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
            // A migration may be slow, and so may the migration of another server that this one waits for.
            let lock = format!("SET LOCAL statement_timeout TO 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            transaction.execute_unprepared(&lock).await.map_err(failed)?;
        }
        if begin == Begin::Not && !SchemaManager::new(&transaction).has_table("canary").await.map_err(failed)? {
            return Err(Error::Empty);
        }
        // The library would log each migration in its own words.
        Migrator::up(&transaction, None).with_subscriber(NoSubscriber::new()).await.map_err(failed)?;
        canary::check(self.keyring(), &transaction).await?;
        mark(&transaction).await.map_err(failed)?;
        let sealed = plaintext_logins::seal_all(self.keyring(), &transaction).await?;
        transaction.commit().await.map_err(failed)?;
        if sealed > 0 {
            self.scrub().await;
        }
        Ok(())
    }
}
