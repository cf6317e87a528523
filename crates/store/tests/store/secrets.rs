//! The database file, a dump and the log contain no key.

use std::{
    io,
    sync::{Arc, Mutex},
};

use gostream_store::{DestinationChange, Error, Keyring, SecretString, Store};
use secrecy::ExposeSecret as _;
use tracing_subscriber::fmt::MakeWriter;

use crate::backend::{Backend, KEY, column, execute, new_destination, project};

fn contains(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len()).any(|window| window == needle.as_bytes())
}

pub async fn keys_are_never_stored_in_clear(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let destination =
        store.add_destination(owner.id, made.id, new_destination("Main", "live_first_key")).await.unwrap();
    let change = DestinationChange { stream_key: Some(SecretString::from("live_second_key")), ..Default::default() };
    store.change_destination(owner.id, destination.id, change).await.unwrap();
    let rotated = store.rotate_stream_key(owner.id, made.id).await.unwrap();
    let old_key = made.stream_key.expose_secret();
    let keys = [old_key, rotated.stream_key.expose_secret(), "live_first_key", "live_second_key"];

    let raw = db.raw().await;
    for (table, name) in [("projects", "stream_key"), ("projects", "stream_key_hash"), ("destinations", "stream_key")] {
        for bytes in column(&raw, table, name).await {
            assert!(bytes.len() >= 32, "{table}.{name}");
            assert!(keys.iter().all(|key| !contains(&bytes, key)), "{table}.{name}");
        }
    }
    raw.close().await.unwrap();

    let Some(folder) = &db.folder else { return store.close().await };
    // While the database is open, the newest pages are in its log; after that, in the file.
    let files = || std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let open: Vec<u8> = files().flatten().collect();
    store.close().await;
    let closed: Vec<u8> = files().flatten().collect();
    for bytes in [open, closed] {
        assert!(contains(&bytes, "live.twitch.tv"), "non-secret data is readable");
        for key in keys {
            assert!(!contains(&bytes, key), "{key}");
        }
    }
}

pub async fn a_sealed_key_opens_in_its_own_row_only(db: &Backend) {
    let store = db.open().await;
    let ((owner, one), (_, two)) = (project(&store).await, project(&store).await);
    let mine = store.add_destination(owner.id, one.id, new_destination("mine", "my key")).await.unwrap();
    store.add_destination(owner.id, one.id, new_destination("yours", "your key")).await.unwrap();
    let raw = db.raw().await;

    let copied = "UPDATE destinations SET stream_key = (SELECT stream_key FROM destinations WHERE name = 'yours')";
    execute(&raw, &format!("{copied} WHERE name = 'mine'")).await;
    let refused = |error: &Error, table: &str| matches!(error, Error::Unseal { table: told, .. } if *told == table);
    assert!(refused(&store.destination(owner.id, mine.id).await.unwrap_err(), "destinations"));
    assert!(refused(&store.destinations(one.id).await.unwrap_err(), "destinations"));

    // A new key repairs the row.
    let change = DestinationChange { stream_key: Some(SecretString::from("new key")), ..Default::default() };
    store.change_destination(owner.id, mine.id, change).await.unwrap();
    assert_eq!(store.destinations(one.id).await.unwrap().len(), 2);

    execute(&raw, "UPDATE projects SET stream_key = (SELECT stream_key FROM destinations WHERE name = 'mine')").await;
    assert!(refused(&store.project_by_id(one.id).await.unwrap_err(), "projects"));
    assert!(refused(&store.project_by_stream_key(two.stream_key.expose_secret()).await.unwrap_err(), "projects"));

    raw.close().await.unwrap();
    store.close().await;
}

pub async fn errors_and_logs_contain_no_secret(db: &Backend) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(writer)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::debug!("The log is on.");

    let store = db.open().await.acting_from(Some([203, 0, 113, 7].into()));
    let owner = store.add_user("log@example.org", "$2b$12$secrethash").await.unwrap();
    let made = store.add_project(owner.id, "p").await.unwrap();
    let destination = store.add_destination(owner.id, made.id, new_destination("d", "live_secret_key")).await.unwrap();
    let url = Some("rtmp://live.example.org/app?token=secret_in_query".to_owned());
    let change = DestinationChange { rtmp_url: url, ..Default::default() };
    store.change_destination(owner.id, destination.id, change).await.unwrap();
    let playback = store.rotate_playback_id(owner.id, made.id).await.unwrap().playback_id;
    let found = store.credentials("log@example.org").await.unwrap().unwrap();
    let mut said = format!("{store:?} {owner:?} {made:?} {destination:?} {found:?}");

    let raw = db.raw().await;
    execute(&raw, "ALTER TABLE destinations RENAME COLUMN enabled TO renamed").await;
    let written = store.add_destination(owner.id, made.id, new_destination("e", "live_secret_key")).await.unwrap_err();
    let read = store.destinations(made.id).await.unwrap_err();
    raw.close().await.unwrap();
    store.close().await;
    let mut errors = vec![written, read];
    for url in [
        "mysql://me:hunter2@127.0.0.1/db",
        "postgres://me:hunter2@[::/db",
        "sqlite::memory:",
        "sqlite:///nowhere/at/all/store.db",
    ] {
        errors.push(Store::open(url, Keyring::new(KEY)).await.unwrap_err());
    }
    if db.folder.is_none() {
        let url = db.url.replace("gostream@", "gostream:hunter2@") + "_missing";
        errors.push(Store::open(&url, Keyring::new(KEY)).await.unwrap_err());
    }
    drop(guard);

    for error in errors {
        said += &format!(" {error} {error:?}");
    }
    let said = format!("{said} {}", log.text());
    assert!(said.contains("The log is on.") && said.contains("log@example.org"), "{said}");
    assert!(said.contains("audit.changes=\"rtmpUrl\""), "{said}");
    for secret in ["live_secret_key", made.stream_key.expose_secret(), "secrethash", "hunter2", "in_query", &playback] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
