//! Backups, which exist only on SQLite: taken during writes, and refused if unreliable.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use gostream_store::{
    Error as StoreError, Keyring, SecretString, Store,
    backup::{self, BackupExtras, Error},
};
use secrecy::ExposeSecret as _;

use crate::backend::{Backend, KEY, facts, new_destination, project};

/// The content of the key file; the store does not interpret it.
const KEY_LINE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn extras() -> BackupExtras {
    BackupExtras { secret_key: SecretString::from(KEY_LINE), node_id: "node-7".to_owned() }
}

async fn write(db: &Backend, to: &Path) -> Result<(), Error> {
    backup::write(&db.url, &Keyring::new(KEY), &extras(), to).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A closed database with a destination, and a folder for its copies.
async fn filled() -> (Backend, tempfile::TempDir) {
    let db = Backend::sqlite();
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    for n in 0..50 {
        let key = format!("key-{n}");
        store.add_destination(owner.id, made.id, new_destination("Main", &key)).await.unwrap();
    }
    store.close().await;
    (db, tempfile::TempDir::new().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_during_writes_is_complete() {
    let db = Backend::sqlite();
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let first = store.add_destination(owner.id, made.id, new_destination("Main", "live_key")).await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writing = tokio::spawn({
        let (store, stop, owner) = (store.clone(), stop.clone(), owner.id);
        async move {
            let mut added = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.add_project(owner, "another").await.unwrap();
                added += 1;
            }
            added
        }
    });
    let folder = tempfile::TempDir::new().unwrap();
    let copies: Vec<PathBuf> = (0..3).map(|n| folder.path().join(format!("{n}.backup"))).collect();
    for copy in &copies {
        write(&db, copy).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0, "others wrote");
    store.close().await;
    assert_eq!(names(folder.path()), ["0.backup", "1.backup", "2.backup"]);

    let mut known = 0;
    for copy in &copies {
        assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
        let target = copy.with_extension("db");
        let found = backup::unpack(copy, &target).await.unwrap();
        assert!(found.is_verified);
        let found = found.extras;
        assert_eq!((found.secret_key.expose_secret(), found.node_id.as_str()), (KEY_LINE, "node-7"));
        backup::prove(&target, Keyring::new(KEY)).await.unwrap();
        let store = Store::open(&format!("sqlite://{}", target.display()), Keyring::new(KEY)).await.unwrap();
        let projects = store.projects(owner.id).await.unwrap();
        assert!(projects.len() >= known.max(1), "a later copy has at least as much");
        known = projects.len();
        assert_eq!(facts(&store.destinations(made.id).await.unwrap()[0]), facts(&first));
        store.close().await;
    }
}

#[tokio::test]
async fn a_restored_database_does_not_contain_its_key() {
    let (db, folder) = filled().await;
    let (copy, target) = (folder.path().join("copy"), folder.path().join("target"));
    write(&db, &copy).await.unwrap();
    let holds_key = |path| fs::read(path).unwrap().windows(KEY_LINE.len()).any(|part| part == KEY_LINE.as_bytes());
    assert!(holds_key(&copy));
    backup::unpack(&copy, &target).await.unwrap();
    assert!(!holds_key(&target));
    assert_eq!(names(folder.path()), ["copy", "target"]);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_backup_overwrites_no_file_and_a_failed_one_leaves_none() {
    let (db, folder) = filled().await;
    let copy = folder.path().join("copy");
    let wrong = backup::write(&db.url, &Keyring::new([8; 32]), &extras(), &copy).await;
    assert!(matches!(wrong, Err(Error::Store(StoreError::WrongSecretKey))), "{wrong:?}");
    let missing = format!("{}-missing", db.url);
    let nothing = backup::write(&missing, &Keyring::new(KEY), &extras(), &copy).await;
    assert!(matches!(nothing, Err(Error::NoDatabase { .. })), "{nothing:?}");
    assert!(write(&db, &folder.path().join("no/folder")).await.is_err());
    assert_eq!(names(folder.path()), Vec::<String>::new());

    fs::write(&copy, "mine").unwrap();
    let refused = write(&db, &copy).await;
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(&copy).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["copy"]);
}

#[tokio::test]
async fn invalid_and_damaged_backups_are_reported_and_leave_no_file() {
    let (db, folder) = filled().await;
    let (copy, spoiled, target) = (folder.path().join("copy"), folder.path().join("spoiled"), folder.path().join("db"));
    write(&db, &copy).await.unwrap();
    let whole = fs::read(&copy).unwrap();
    let database = fs::read(backup::file(&db.url).unwrap()).unwrap();
    for foreign in [&b""[..], b"a diary", &[b'x'; 8_192], &database] {
        fs::write(&spoiled, foreign).unwrap();
        let told = backup::unpack(&spoiled, &target).await;
        assert!(matches!(told, Err(Error::NotABackup { .. })), "{} bytes: {told:?}", foreign.len());
    }
    let told = backup::unpack(folder.path(), &target).await;
    assert!(matches!(told, Err(Error::NotABackup { .. })), "not a regular file, such as a folder or a pipe: {told:?}");
    // An SQLite page has 4096 bytes.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2 / 4_096 * 4_096..][..512].fill(0xA5);
    for damaged in [&whole[..whole.len() - 4_096], &whole[..whole.len() / 2 + 100], &flipped] {
        fs::write(&spoiled, damaged).unwrap();
        let told = backup::unpack(&spoiled, &target).await;
        assert!(matches!(told, Err(Error::Damaged { .. })), "{} bytes: {told:?}", damaged.len());
    }
    assert_eq!(names(folder.path()), ["copy", "spoiled"]);
}

async fn change(path: &Path, statements: &str) {
    use sqlx::{Connection as _, Executor as _};

    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// Removes the checksum, as in an older backup.
const OLDER: &str = "ALTER TABLE gostream_backup DROP COLUMN checksum; VACUUM;";

#[tokio::test]
async fn a_changed_backup_is_refused_and_one_without_checksum_is_accepted_unverified() {
    let (db, folder) = filled().await;
    let [copy, changed, target] = ["copy", "changed", "db"].map(|name| folder.path().join(name));
    write(&db, &copy).await.unwrap();
    for statements in ["UPDATE users SET password_hash = 'mine'", "UPDATE gostream_backup SET node_id = '../../etc'"] {
        fs::copy(&copy, &changed).unwrap();
        change(&changed, statements).await;
        let told = backup::unpack(&changed, &target).await;
        assert!(matches!(told, Err(Error::Damaged { .. })), "{statements}: {told:?}");
    }
    fs::copy(&copy, &changed).unwrap();
    change(&changed, OLDER).await;
    let found = backup::unpack(&changed, &target).await.unwrap();
    assert!(!found.is_verified);
    assert_eq!(found.extras.secret_key.expose_secret(), KEY_LINE);
}

#[tokio::test]
async fn a_backup_with_executable_objects_is_refused() {
    let (db, folder) = filled().await;
    let [copy, changed, target] = ["copy", "changed", "db"].map(|name| folder.path().join(name));
    write(&db, &copy).await.unwrap();
    for (kind, statements) in [
        ("trigger", "CREATE TRIGGER t AFTER DELETE ON sessions BEGIN DELETE FROM users; END"),
        ("view", "CREATE VIEW v AS SELECT * FROM users"),
        (
            "view",
            "CREATE TABLE x AS SELECT * FROM gostream_backup; DROP TABLE gostream_backup; CREATE VIEW gostream_backup AS \
             WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) SELECT secret_key, node_id, version FROM x \
             WHERE (SELECT count(*) FROM r) > 0",
        ),
    ] {
        fs::copy(&copy, &changed).unwrap();
        change(&changed, &format!("{OLDER} {statements}")).await;
        let told = backup::unpack(&changed, &target).await;
        assert!(matches!(&told, Err(Error::Foreign { kind: found, .. }) if found == kind), "{statements}: {told:?}");
        assert!(!target.exists());
    }
}

#[tokio::test]
async fn a_database_in_use_is_detected() {
    let db = Backend::sqlite();
    let path = backup::file(&db.url).unwrap();
    let store = db.open().await;
    let refused = backup::ensure_unused(&path).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::InUse))), "{refused:?}");
    store.close().await;
    backup::ensure_unused(&path).await.unwrap();
    assert_eq!(names(path.parent().unwrap()), ["store.db"]);
    fs::write(&path, "no database").unwrap();
    backup::ensure_unused(&path).await.unwrap();
}

#[tokio::test]
async fn postgres_is_refused_in_favour_of_pg_dump() {
    let told = backup::file("postgres://me@host/db").unwrap_err();
    assert!(told.to_string().contains("pg_dump"), "{told}");
}
