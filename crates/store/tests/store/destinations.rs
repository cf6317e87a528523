//! Destinations.

use gostream_store::{DestinationChange, Error, NewDestination, SecretString};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::backend::{Backend, facts, new_destination, project, user};

/// Real keys and URLs of platforms, which normalisation would break.
const LITERAL: [(&str, &str); 3] = [
    ("rtmps://live-api-s.facebook.com:443/rtmp/", "FB-1-0-Ab?s_bl=1&s_ps=1&a=AbC%2F"),
    ("rtmp://a.rtmp.youtube.com/live2?backup=1", " spaced:key "),
    ("rtmp://push.example.org/a/b/", "日本-🔑"),
];

pub async fn a_destination_is_created_changed_and_deleted(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    for (rtmp_url, key) in LITERAL {
        let new = NewDestination { rtmp_url: rtmp_url.to_owned(), ..new_destination("Main", key) };
        let made = store.add_destination(owner.id, project.id, new).await.unwrap();
        assert_eq!(facts(&made), (made.id, project.id, "twitch", "Main", rtmp_url, key, true));
        let found = store.destination(owner.id, made.id).await.unwrap().unwrap();
        assert_eq!(facts(&found), facts(&made));
        assert_eq!((found.created_at, found.updated_at), (made.created_at, made.created_at));
    }

    let listed = store.destinations(project.id).await.unwrap();
    assert_eq!(listed.len(), LITERAL.len());
    for row in &listed {
        assert_eq!(store.delete_destination(owner.id, row.id).await.unwrap(), project.id);
        assert!(store.destination(owner.id, row.id).await.unwrap().is_none());
        assert!(matches!(store.delete_destination(owner.id, row.id).await, Err(Error::NotFound)));
    }
    assert!(store.destinations(project.id).await.unwrap().is_empty());
    let nowhere = store.add_destination(owner.id, Uuid::new_v4(), new_destination("a", "k")).await;
    assert!(matches!(nowhere, Err(Error::NotFound)));
    store.close().await;
}

pub async fn a_change_keeps_other_fields(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let made = store.add_destination(owner.id, project.id, new_destination("Main", "first")).await.unwrap();
    let other = store.add_destination(owner.id, project.id, new_destination("Other", "other")).await.unwrap();
    let (id, url) = (made.id, made.rtmp_url.as_str());

    let none = store.change_destination(owner.id, id, DestinationChange::default()).await.unwrap();
    assert_eq!((facts(&none), none.updated_at), (facts(&made), made.updated_at));

    let change = DestinationChange { enabled: Some(false), ..Default::default() };
    let off = store.change_destination(owner.id, id, change).await.unwrap();
    assert_eq!(facts(&off), (id, project.id, "twitch", "Main", url, "first", false));
    assert_eq!(off.created_at, made.created_at);

    let change = DestinationChange { stream_key: Some(SecretString::from("second")), ..Default::default() };
    let key = store.change_destination(owner.id, id, change).await.unwrap();
    assert_eq!(facts(&key), (id, project.id, "twitch", "Main", url, "second", false));

    let change = DestinationChange {
        platform: Some("custom".to_owned()),
        name: Some("Backup".to_owned()),
        rtmp_url: Some("rtmp://b.example.org/app".to_owned()),
        backup_url: Some(Some("rtmp://c.example.org/app".to_owned())),
        stream_key: None,
        enabled: Some(true),
        delay_seconds: Some(300),
    };
    let rest = store.change_destination(owner.id, id, change).await.unwrap();
    assert_eq!(facts(&rest), (id, project.id, "custom", "Backup", "rtmp://b.example.org/app", "second", true));
    assert_eq!(rest.backup_url.as_deref(), Some("rtmp://c.example.org/app"));
    assert_eq!([off.delay_seconds, rest.delay_seconds], [0, 300]);
    let found = store.destination(owner.id, id).await.unwrap().unwrap();
    assert_eq!((facts(&found), found.delay_seconds, found.updated_at), (facts(&rest), 300, rest.updated_at));
    let change = DestinationChange { delay_seconds: Some(301), ..Default::default() };
    store.change_destination(owner.id, id, change).await.expect_err("the table has the same bound");
    let change = DestinationChange { backup_url: Some(None), ..Default::default() };
    assert_eq!(store.change_destination(owner.id, id, change).await.unwrap().backup_url, None);

    let untouched = store.destination(owner.id, other.id).await.unwrap().unwrap();
    assert_eq!((facts(&untouched), untouched.updated_at), (facts(&other), other.updated_at));
    store.close().await;
}

pub async fn destinations_are_listed_oldest_first(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    for name in ["a", "b", "c", "d"] {
        store.add_destination(owner.id, project.id, new_destination(name, "k")).await.unwrap();
    }
    let listed = store.destinations(project.id).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    store.close().await;
}

pub async fn destinations_of_other_accounts_are_not_found(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let made = store.add_destination(owner.id, project.id, new_destination("Main", "secret")).await.unwrap();
    let thief = user(&store).await;
    // A project of one's own gives no access to another's.
    store.add_project(thief.id, "mine").await.unwrap();

    assert!(store.destination(thief.id, made.id).await.unwrap().is_none());
    for change in [
        DestinationChange::default(),
        DestinationChange { rtmp_url: Some("rtmp://thief.example.org/live".to_owned()), ..Default::default() },
    ] {
        assert!(matches!(store.change_destination(thief.id, made.id, change).await, Err(Error::NotFound)));
    }
    assert!(matches!(store.delete_destination(thief.id, made.id).await, Err(Error::NotFound)));

    let still = store.destination(owner.id, made.id).await.unwrap().unwrap();
    assert_eq!((facts(&still), still.stream_key.expose_secret()), (facts(&made), "secret"));
    store.close().await;
}
