//! Every migration runs up and down on both databases.

#![allow(clippy::unwrap_used, reason = "a failing unwrap shows where a test stopped")]

use gostream_testkit::postgres::Postgres;
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::{MigratorTrait as _, SchemaManager};
use tempfile::TempDir;

use super::Migrator;
use crate::{Error, Keyring, Store};

const TABLES: [&str; 10] = [
    "users",
    "sessions",
    "projects",
    "destinations",
    "streams",
    "stream_events",
    "stream_commands",
    "api_tokens",
    "audit",
    "canary",
];

#[tokio::test]
async fn up_and_down_and_up_on_sqlite() {
    let folder = TempDir::new().unwrap();
    up_and_down_and_up(&format!("sqlite://{}/store.db", folder.path().display())).await;
}

#[tokio::test]
async fn up_and_down_and_up_on_postgres() {
    up_and_down_and_up(&Postgres::shared().database()).await;
}

async fn up_and_down_and_up(url: &str) {
    let store = Store::open(url, Keyring::new([1; 32])).await.unwrap();
    assert_eq!(tables(&store).await, TABLES);
    store.add_user("a@b.c", "hash").await.unwrap();

    Migrator::down(store.raw_writer(), None).await.unwrap();
    assert!(tables(&store).await.is_empty());
    assert!(matches!(store.credentials("a@b.c").await, Err(Error::Read { .. })));

    Migrator::up(store.raw_writer(), None).await.unwrap();
    assert_eq!(tables(&store).await, TABLES);
    assert_eq!(store.credentials("a@b.c").await.unwrap(), None);
    store.close().await;
}

/// Sessions and tokens of the first release remain valid.
#[tokio::test]
async fn sessions_and_tokens_of_the_first_release_remain_valid() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/store.db", folder.path().display());
    let store = Store::open(&url, Keyring::new([1; 32])).await.unwrap();
    let released = ["m0001_first_tables", "m0002_timeline", "m0003_tokens_and_audit", "m0004_pull"].len() as u32;
    let steps = Migrator::migrations().len() as u32;
    Migrator::down(store.raw_writer(), Some(steps - released)).await.unwrap();
    let (user, session) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let hex = |id: uuid::Uuid| id.simple().to_string();
    let rows = format!(
        "INSERT INTO users (id, email, password_hash, created_at, updated_at) VALUES (x'{user}', 'a@b.c', 'hash', 0, 0);
         INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES (x'{session}', x'{user}', 0, 9000000000000);
         INSERT INTO api_tokens (id, user_id, name, hash, created_at) VALUES (x'{session}', x'{user}', 'old', x'{hash}', 0);",
        user = hex(user),
        session = hex(session),
        // SHA-256 of `gst_old`.
        hash = "6a9a914b2e82609339dc68ce6df58912a540271fd396b02eb32a21b82bad356a",
    );
    store.raw_writer().execute_unprepared(&rows).await.unwrap();
    Migrator::up(store.raw_writer(), None).await.unwrap();

    let owner = store.user(user).await.unwrap().unwrap();
    assert_eq!(owner.login_version, 0);
    assert_eq!(store.use_session(session, Some("192.0.2.1")).await.unwrap(), Some(owner.clone()));
    let (_, token) = store.token_user("gst_old").await.unwrap().unwrap();
    assert_eq!((token.scope, token.expires_at), (crate::Scope::Full, None));
    store.close().await;
}

#[tokio::test]
async fn an_unknown_migration_is_an_error() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/store.db", folder.path().display());
    let store = Store::open(&url, Keyring::new([1; 32])).await.unwrap();
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_newer', 0)";
    store.raw_writer().execute_unprepared(newer).await.unwrap();
    store.close().await;
    assert!(matches!(Store::open(&url, Keyring::new([1; 32])).await, Err(Error::Migrate(_))));
}

async fn tables(store: &Store) -> Vec<&'static str> {
    let manager = SchemaManager::new(store.raw_writer());
    let mut found = Vec::new();
    for table in TABLES {
        if manager.has_table(table).await.unwrap() {
            found.push(table);
        }
    }
    found
}
