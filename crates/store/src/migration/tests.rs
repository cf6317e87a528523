//! Every step goes up and down on both databases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use gostream_testkit::postgres::Postgres;
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::{MigratorTrait as _, SchemaManager};
use tempfile::TempDir;

use super::Migrator;
use crate::{Error, Keyring, Store};

const TABLES: [&str; 9] =
    ["users", "sessions", "projects", "destinations", "streams", "stream_events", "api_tokens", "audit", "canary"];

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

    Migrator::down(store.writer(), None).await.unwrap();
    assert!(tables(&store).await.is_empty());
    assert!(matches!(store.credentials("a@b.c").await, Err(Error::Read { .. })));

    Migrator::up(store.writer(), None).await.unwrap();
    assert_eq!(tables(&store).await, TABLES);
    assert_eq!(store.credentials("a@b.c").await.unwrap(), None);
    store.close().await;
}

#[tokio::test]
async fn a_step_that_is_not_known_is_not_stepped_over() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/store.db", folder.path().display());
    let store = Store::open(&url, Keyring::new([1; 32])).await.unwrap();
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_newer', 0)";
    store.writer().execute_unprepared(newer).await.unwrap();
    store.close().await;
    assert!(matches!(Store::open(&url, Keyring::new([1; 32])).await, Err(Error::Migrate(_))));
}

async fn tables(store: &Store) -> Vec<&'static str> {
    let manager = SchemaManager::new(store.writer());
    let mut found = Vec::new();
    for table in TABLES {
        if manager.has_table(table).await.unwrap() {
            found.push(table);
        }
    }
    found
}
