//! Projects.

use gostream_store::{Error, Project};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::backend::{Backend, new_destination, project, renamed, user};

/// The fields of a project, for comparison.
fn facts(row: &Project) -> (Uuid, Uuid, &str, &str, &str) {
    (row.id, row.user_id, &row.name, row.stream_key.expose_secret(), &row.playback_id)
}

pub async fn a_project_is_created_changed_and_deleted(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let key = made.stream_key.expose_secret().to_owned();
    assert_eq!(Uuid::parse_str(&key).unwrap().get_version_num(), 4);
    assert_eq!(made.playback_id.len(), 22);
    assert!(made.playback_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));

    for found in [
        store.project(owner.id, made.id).await.unwrap(),
        store.project_by_id(made.id).await.unwrap(),
        store.project_by_stream_key(&key).await.unwrap(),
    ] {
        let found = found.unwrap();
        assert_eq!(facts(&found), facts(&made));
        assert_eq!((found.created_at, found.updated_at), (made.created_at, made.updated_at));
    }

    let evening = store.change_project(owner.id, made.id, renamed("Évening ✝ 'service'")).await.unwrap();
    assert_eq!(evening.name, "Évening ✝ 'service'");
    assert_eq!((evening.id, evening.stream_key.expose_secret()), (made.id, key.as_str()));
    assert_eq!((evening.created_at, &evening.playback_id), (made.created_at, &made.playback_id));
    assert!(evening.updated_at >= made.updated_at);

    let destination = store.add_destination(owner.id, made.id, new_destination("a", "k")).await.unwrap();
    store.delete_project(owner.id, made.id).await.unwrap();
    assert!(store.project(owner.id, made.id).await.unwrap().is_none());
    assert!(store.project_by_id(made.id).await.unwrap().is_none());
    assert!(store.project_by_stream_key(&key).await.unwrap().is_none());
    assert!(store.destination(owner.id, destination.id).await.unwrap().is_none());
    assert!(store.destinations(made.id).await.unwrap().is_empty());
    assert!(matches!(store.delete_project(owner.id, made.id).await, Err(Error::NotFound)));
    assert!(matches!(store.change_project(owner.id, made.id, renamed("x")).await, Err(Error::NotFound)));
    assert!(matches!(store.rotate_stream_key(owner.id, made.id).await, Err(Error::NotFound)));
    assert!(matches!(store.add_project(Uuid::new_v4(), "x").await, Err(Error::NotFound)));
    store.close().await;
}

pub async fn projects_are_listed_newest_first(db: &Backend) {
    let store = db.open().await;
    let (owner, stranger) = (user(&store).await, user(&store).await);
    for name in ["a", "b", "c", "d"] {
        store.add_project(owner.id, name).await.unwrap();
    }
    store.add_project(stranger.id, "x").await.unwrap();
    let listed = store.projects(owner.id).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["d", "c", "b", "a"]);
    let mut different: Vec<_> = listed.iter().map(|row| (row.stream_key.expose_secret(), &row.playback_id)).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 4);
    assert!(store.projects(Uuid::new_v4()).await.unwrap().is_empty());
    store.close().await;
}

pub async fn a_replaced_key_is_invalid_at_once(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let old = made.stream_key.expose_secret();
    let rotated = store.rotate_stream_key(owner.id, made.id).await.unwrap();
    let new = rotated.stream_key.expose_secret();
    assert_ne!(new, old);
    assert_eq!((rotated.id, &rotated.playback_id), (made.id, &made.playback_id));
    assert!(store.project_by_stream_key(old).await.unwrap().is_none());
    assert_eq!(store.project_by_stream_key(new).await.unwrap().map(|row| row.id), Some(made.id));

    // The key must match exactly.
    for other in [new.to_uppercase(), format!("{new} "), new.replace('-', ""), String::new()] {
        assert!(store.project_by_stream_key(&other).await.unwrap().is_none(), "{other:?}");
    }
    store.close().await;
}

pub async fn projects_of_other_accounts_are_not_found(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let thief = user(&store).await;
    assert!(store.project(thief.id, made.id).await.unwrap().is_none());
    assert!(store.projects(thief.id).await.unwrap().is_empty());
    assert!(matches!(store.change_project(thief.id, made.id, renamed("mine")).await, Err(Error::NotFound)));
    assert!(matches!(store.rotate_stream_key(thief.id, made.id).await, Err(Error::NotFound)));
    assert!(matches!(store.delete_project(thief.id, made.id).await, Err(Error::NotFound)));
    let planted = store.add_destination(thief.id, made.id, new_destination("mine", "k")).await;
    assert!(matches!(planted, Err(Error::NotFound)));
    assert!(matches!(store.streams(thief.id, made.id, 10, None).await, Err(Error::NotFound)));

    let still = store.project(owner.id, made.id).await.unwrap().unwrap();
    assert_eq!(facts(&still), facts(&made));
    assert_eq!(still.updated_at, made.updated_at);
    assert!(store.destinations(made.id).await.unwrap().is_empty());
    store.close().await;
}
