//! Replacing the secret key: everything can be decrypted with the new key, nothing with the old one, and no server runs
//! meanwhile.

use gostream_store::{Error, Keyring, NewDestination, ProjectChange, Resealed, Rotation, Store};
use gostream_testkit::PATIENCE;
use secrecy::ExposeSecret as _;
use time::{Duration, OffsetDateTime};

use crate::backend::{Backend, KEY, column, execute, facts, login, new_destination, project};

const NEW: [u8; 32] = [9; 32];

pub async fn everything_opens_with_the_new_key_only(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let (_, other) = project(&store).await;
    let first = store.add_destination(owner.id, made.id, new_destination("One", "live_1")).await.unwrap();
    let with_logins = NewDestination {
        rtmp_url: "rtmp://me:hunter2@h/app".to_owned(),
        backup_url: Some("rtmp://me:hunter3@h/app".to_owned()),
        ..new_destination("Two", "live_2?a=b")
    };
    let second = store.add_destination(owner.id, made.id, with_logins).await.unwrap();
    let pull = ProjectChange { pull_url: Some(Some("rtmp://me:hunter4@h/app".to_owned())), ..Default::default() };
    let made = store.change_project(owner.id, made.id, pull).await.unwrap();
    let tomorrow = OffsetDateTime::now_utc() + Duration::DAY;
    store.start_session(&owner, login(tomorrow)).await.unwrap();
    store.close().await;
    let raw = db.raw().await;
    let before = sealed(&raw).await;
    raw.close().await.unwrap();

    let rotation = Rotation::begin(&db.url, Keyring::new(KEY)).await.unwrap();
    let resealed = rotation.reseal(&Keyring::new(NEW)).await.unwrap();
    assert_eq!(resealed, Resealed { projects: 2, destinations: 2 });
    rotation.end().await;

    let refused = Store::open(&db.url, Keyring::new(KEY)).await;
    assert!(matches!(refused, Err(Error::WrongSecretKey)), "{refused:?}");
    let store = Store::open(&db.url, Keyring::new(NEW)).await.unwrap();
    for project in [&made, &other] {
        let found = store.project_by_stream_key(project.stream_key.expose_secret()).await.unwrap().unwrap();
        assert_eq!((found.id, found.updated_at), (project.id, project.updated_at));
        assert_eq!(found.stream_key.expose_secret(), project.stream_key.expose_secret());
    }
    let found = store.destinations(made.id).await.unwrap();
    assert_eq!([facts(&found[0]), facts(&found[1])], [facts(&first), facts(&second)]);
    assert_eq!(found[1].server().expose_secret(), "rtmp://me:hunter2@h/app");
    assert_eq!(found[1].backup_server().unwrap().expose_secret(), "rtmp://me:hunter3@h/app");
    let pulled = store.project(owner.id, made.id).await.unwrap().unwrap();
    assert_eq!(pulled.pull_server().unwrap().expose_secret(), "rtmp://me:hunter4@h/app");
    assert!(store.sessions(owner.id).await.unwrap().is_empty(), "all users must log in again");
    store.close().await;

    let raw = db.raw().await;
    let after = sealed(&raw).await;
    raw.close().await.unwrap();
    assert_eq!((before.len(), after.len()), (10, 10));
    assert!(before.iter().all(|value| !after.contains(value)), "every value is different");
    let Some(folder) = &db.folder else { return };
    // The old key with the new file decrypts nothing.
    let file = std::fs::read(folder.path().join("store.db")).unwrap();
    let left = before.iter().filter(|value| file.windows(value.len()).any(|part| part == value.as_slice())).count();
    assert_eq!(left, 0);
}

/// Every sealed value and every keyed hash.
async fn sealed(raw: &sea_orm::DatabaseConnection) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (table, name) in [
        ("canary", "sealed"),
        ("projects", "stream_key"),
        ("projects", "stream_key_hash"),
        ("destinations", "stream_key"),
        ("projects WHERE pull_login IS NOT NULL", "pull_login"),
        ("destinations WHERE rtmp_login IS NOT NULL", "rtmp_login"),
        ("destinations WHERE backup_login IS NOT NULL", "backup_login"),
    ] {
        all.extend(column(raw, table, name).await);
    }
    all
}

pub async fn a_value_that_cannot_be_decrypted_aborts_the_rotation(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    store.add_destination(owner.id, made.id, new_destination("One", "live_1")).await.unwrap();
    store.add_destination(owner.id, made.id, new_destination("Two", "live_2")).await.unwrap();
    store.close().await;
    let raw = db.raw().await;
    let copied = "UPDATE destinations SET stream_key = (SELECT stream_key FROM destinations WHERE name = 'One')";
    execute(&raw, &format!("{copied} WHERE name = 'Two'")).await;
    let before = sealed(&raw).await;
    raw.close().await.unwrap();

    let rotation = Rotation::begin(&db.url, Keyring::new(KEY)).await.unwrap();
    let failed = rotation.reseal(&Keyring::new(NEW)).await;
    assert!(matches!(failed, Err(Error::Unseal { table: "destinations", .. })), "{failed:?}");
    rotation.end().await;

    let store = db.open().await;
    let found = store.project_by_stream_key(made.stream_key.expose_secret()).await.unwrap();
    assert!(found.is_some(), "the old key opens it as before");
    store.close().await;
    let raw = db.raw().await;
    assert_eq!(sealed(&raw).await, before);
    raw.close().await.unwrap();
}

pub async fn no_other_process_has_the_database_open_during_rotation(db: &Backend) {
    let store = db.open().await;
    let refused = Rotation::begin(&db.url, Keyring::new(KEY)).await;
    assert!(matches!(refused, Err(Error::InUse)), "{refused:?}");
    let (_, made) = project(&store).await;
    store.close().await;
    let refused = Rotation::begin(&db.url, Keyring::new(NEW)).await;
    assert!(matches!(refused, Err(Error::WrongSecretKey)), "{refused:?}");

    // A server that starts during the rotation waits, and then fails because the key has changed.
    let rotation = Rotation::begin(&db.url, Keyring::new(KEY)).await.unwrap();
    let (url, mut opening) = (db.url.clone(), tokio::task::JoinSet::new());
    opening.spawn(async move { Store::open(&url, Keyring::new(KEY)).await });
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), opening.join_next()).await;
    assert!(early.is_err(), "it waits: {early:?}");
    rotation.reseal(&Keyring::new(NEW)).await.unwrap();
    rotation.end().await;
    let opened = tokio::time::timeout(PATIENCE, opening.join_next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(opened, Err(Error::WrongSecretKey)), "{opened:?}");
    let store = Store::open(&db.url, Keyring::new(NEW)).await.unwrap();
    assert!(store.project_by_stream_key(made.stream_key.expose_secret()).await.unwrap().is_some());
    store.close().await;
}

/// A sealed column that the rotation omits would be lost with the old key.
#[tokio::test]
async fn every_binary_column_is_resealed_or_listed() {
    let db = Backend::sqlite();
    db.open().await.close().await;
    let raw = db.raw().await;
    let columns = "SELECT CAST(m.name || '.' || c.name AS BLOB) FROM sqlite_master m, pragma_table_info(m.name) c \
                   WHERE m.type = 'table' AND c.type LIKE '%blob%' AND c.name <> 'id' AND c.name NOT LIKE '%\\_id' \
                   ESCAPE '\\' ORDER BY 1";
    let found = column(&raw, &format!("({columns})"), "*").await;
    let found: Vec<_> = found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
    raw.close().await.unwrap();
    assert_eq!(
        found,
        // A token's hash is not keyed: it stays the same, and the token stays valid.
        [
            "api_tokens.hash",
            "canary.sealed",
            "destinations.backup_login",
            "destinations.rtmp_login",
            "destinations.stream_key",
            "projects.pull_login",
            "projects.stream_key",
            "projects.stream_key_hash"
        ],
        "the rotation in rotation.rs has to seal a new one again"
    );
}
