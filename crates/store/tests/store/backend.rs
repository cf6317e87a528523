//! A database for one test, and rows to start with.

use gostream_store::{
    Destination, Keyring, NewDestination, NewSession, Project, ProjectChange, SecretString, Store, User,
};
use gostream_testkit::postgres::Postgres;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;

/// The default secret key of the tests.
pub const KEY: [u8; 32] = [7; 32];

/// An empty database.
pub struct Backend {
    pub url: String,
    /// The folder of the file, on SQLite.
    pub folder: Option<TempDir>,
}

impl Backend {
    pub fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        Self { url: format!("sqlite://{}/store.db", folder.path().display()), folder: Some(folder) }
    }

    pub fn postgres() -> Self {
        Self { url: Postgres::shared().database(), folder: None }
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.url, Keyring::new(KEY)).await.unwrap()
    }

    /// A connection that bypasses the store.
    pub async fn raw(&self) -> DatabaseConnection {
        Database::connect(&self.url).await.unwrap()
    }
}

/// Executes SQL without the store.
pub async fn execute(raw: &DatabaseConnection, sql: &str) {
    raw.execute_unprepared(sql).await.unwrap();
}

/// Reads a binary column without the store.
pub async fn column(raw: &DatabaseConnection, table: &str, column: &str) -> Vec<Vec<u8>> {
    let sql = format!("SELECT {column} FROM {table}");
    let backend: DbBackend = raw.get_database_backend();
    let rows = raw.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// A new account.
pub async fn user(store: &Store) -> User {
    store.add_user(&format!("{}@example.org", Uuid::new_v4()), "hash").await.unwrap()
}

/// A session without client details.
pub fn login(expires_at: OffsetDateTime) -> NewSession<'static> {
    NewSession { expires_at, agent: None }
}

/// A new account with a project.
pub async fn project(store: &Store) -> (User, Project) {
    let user = user(store).await;
    let project = store.add_project(user.id, "Sunday service").await.unwrap();
    (user, project)
}

/// A change of a project's name.
pub fn renamed(name: &str) -> ProjectChange {
    ProjectChange { name: Some(name.to_owned()), ..ProjectChange::default() }
}

/// A destination as the page sends it.
pub fn new_destination(name: &str, key: &str) -> NewDestination {
    NewDestination {
        platform: "twitch".to_owned(),
        name: name.to_owned(),
        rtmp_url: "rtmp://live.twitch.tv/app".to_owned(),
        backup_url: None,
        stream_key: SecretString::from(key),
        enabled: true,
        delay_seconds: 0,
    }
}

/// The fields of a destination, for comparison.
pub fn facts(row: &Destination) -> (Uuid, Uuid, &str, &str, &str, &str, bool) {
    let key = row.stream_key.expose_secret();
    (row.id, row.project_id, &row.platform, &row.name, &row.rtmp_url, key, row.enabled)
}
