//! Starting, starting again, starting together, and stopping.

use std::time::Duration;

use futures::future::join_all;
use gostream_store::{Error, Keyring, NodeLock, Store};
use gostream_testkit::{pgbouncer::Pgbouncer, postgres::Postgres};
use sea_orm::{SqliteTransactionMode, TransactionOptions, TransactionTrait as _};
use secrecy::ExposeSecret as _;

use crate::backend::{Backend, KEY, project};

pub async fn data_remains_after_a_restart(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    store.ping().await.unwrap();
    store.close().await;

    let store = db.open().await;
    let found = store.project(owner.id, made.id).await.unwrap().unwrap();
    assert_eq!(found.stream_key.expose_secret(), made.stream_key.expose_secret());
    store.close().await;
}

pub async fn another_secret_key_is_an_error(db: &Backend) {
    db.open().await.close().await;
    let refused = Store::open(&db.url, Keyring::new([8; 32])).await;
    assert!(matches!(refused, Err(Error::WrongSecretKey)), "{refused:?}");
    db.open().await.close().await;
}

pub async fn servers_may_start_together(db: &Backend) {
    let stores = join_all((0..6).map(|_| async { db.open().await })).await;
    let (owner, made) = project(&stores[0]).await;
    for store in &stores {
        assert!(store.project(owner.id, made.id).await.unwrap().is_some());
    }
    join_all(stores.iter().map(Store::close)).await;
}

pub async fn a_closed_store_answers_with_errors(db: &Backend) {
    let store = db.open().await;
    let clone = store.clone();
    store.close().await;
    assert!(matches!(clone.ping().await, Err(Error::Read { .. })));
    assert!(matches!(clone.add_user("a@b.c", "hash").await, Err(Error::Write { .. })));
    store.close().await;
}

#[tokio::test]
async fn a_node_id_is_used_by_one_server() {
    let url = Postgres::shared().database();
    let take = |node: &'static str, patience| NodeLock::take(&url, node, patience);
    let held = take("one", Duration::ZERO).await.unwrap().unwrap();
    assert!(matches!(take("one", Duration::from_millis(100)).await, Err(Error::NodeInUse)));
    let other = take("two", Duration::ZERO).await.unwrap();
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { NodeLock::take(&url, "one", Duration::from_secs(30)).await }
    });
    drop(held);
    waiting.await.unwrap().unwrap();
    drop(other);
}

#[tokio::test]
async fn transaction_pooling_is_refused() {
    let url = Postgres::shared().database();
    let pooled = |mode| Pgbouncer::start(&url, mode);
    let transactions = pooled("transaction").await.unwrap();
    let refused = Store::open(&transactions.url, Keyring::new(KEY)).await;
    assert!(matches!(refused, Err(Error::TransactionPooling)), "{refused:?}");
    let sessions = pooled("session").await.unwrap();
    let store = Store::open(&sessions.url, Keyring::new(KEY)).await.unwrap();
    project(&store).await;
    store.close().await;
}

/// SQLite only: the file.
#[cfg(unix)]
#[tokio::test]
async fn the_file_is_private_and_complete_after_a_stop() {
    use std::os::unix::fs::PermissionsExt as _;

    let db = Backend::sqlite();
    let folder = db.folder.as_ref().unwrap().path();
    let mode = |name: &str| std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    let store = db.open().await;
    project(&store).await;
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    store.close().await;
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["store.db"]);
}

/// A new file is switched to its log while another server, started slightly earlier, writes. SQLite does not wait
/// there.
#[tokio::test]
async fn opening_waits_for_a_new_file_in_use() {
    let db = Backend::sqlite();
    let immediate = Some(SqliteTransactionMode::Immediate);
    let immediate = TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() };
    let other = sea_orm::Database::connect(format!("{}?mode=rwc", db.url)).await.unwrap();
    let writing = other.begin_with_options(immediate).await.unwrap();
    let mut opening = Box::pin(db.open());
    let early = tokio::time::timeout(Duration::from_millis(200), &mut opening).await;
    assert!(early.is_err(), "it waits");
    writing.rollback().await.unwrap();
    opening.await.close().await;
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_path_with_url_metacharacters_is_kept() {
    let db = Backend::sqlite();
    let folder = db.folder.as_ref().unwrap().path();
    let url = format!("sqlite://{}/100%25 a%3Fb%23c é.db", folder.display());
    Store::open(&url, Keyring::new(KEY)).await.unwrap().close().await;
    assert!(folder.join("100% a?b#c é.db").exists());
}

/// Two cryptography providers would panic here, and an unverified server could be an impostor.
#[tokio::test]
async fn postgres_connections_use_verified_tls() {
    let server = Postgres::shared();
    let certificate = server.certificate();
    let url = format!("{}?sslmode=verify-full&sslrootcert=", server.database());
    let store = Store::open(&format!("{url}{}", certificate.display()), Keyring::new(KEY)).await.unwrap();
    project(&store).await;
    store.close().await;

    let stranger = gostream_testkit::certificate::Certificate::for_names(&["127.0.0.1"]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("stranger.pem");
    std::fs::write(&path, stranger.pem).unwrap();
    let refused = Store::open(&format!("{url}{}", path.display()), Keyring::new(KEY)).await;
    assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");
}
