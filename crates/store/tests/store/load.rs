//! Concurrency: writers wait for each other, and no call fails because the database is locked.

use std::pin::pin;

use futures::{future::join_all, poll};
use gostream_store::{DestinationChange, EndReason, Error, Revoke, SESSIONS_MAX, Store, StreamStatus, User};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::backend::{Backend, login, new_destination, renamed, user};

const TASKS: usize = 50;
const ROUNDS: usize = 4;
/// More polls than a call needs, so that it is dropped at each of its steps.
const DROPS: usize = 200;

/// Two stores on one database behave like two processes: they share only the file.
pub async fn fifty_tasks_in_two_servers_do_not_conflict(db: &Backend) {
    let stores = [db.open().await, db.open().await];
    let owner = user(&stores[0]).await;
    let tasks = (0..TASKS).map(|n| {
        let (store, owner) = (stores[n % 2].clone(), owner.clone());
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                session(&store, &owner).await?;
            }
            Ok::<_, Error>(())
        })
    });
    for done in join_all(tasks).await {
        done.unwrap().unwrap();
    }

    let projects = stores[0].projects(owner.id).await.unwrap();
    assert_eq!(projects.len(), TASKS * ROUNDS);
    assert!(projects.iter().all(|project| project.name == "renamed"));
    let ended = stores[1].end_sessions(owner.id, Revoke::SESSIONS).await.unwrap();
    assert_eq!(ended.sessions, SESSIONS_MAX.min((TASKS * ROUNDS) as u64));
    for store in stores {
        store.close().await;
    }
}

/// A browser that disconnects drops the call. The change is rolled back, and the connection is clean.
pub async fn a_dropped_call_leaves_no_open_transaction(db: &Backend) {
    let (store, other) = (db.open().await, db.open().await);
    let owner = user(&store).await;
    for polls in 0..DROPS {
        let mut call = pin!(store.set_password(owner.id, "changed", None, Revoke::SESSIONS));
        for _ in 0..polls {
            if poll!(call.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..10 {
        let added = user(&store).await;
        assert_eq!(other.user(added.id).await.unwrap(), Some(added));
    }
    other.set_password(owner.id, "last", None, Revoke::SESSIONS).await.unwrap();
    assert_eq!(store.credentials(&owner.email).await.unwrap().unwrap().password_hash, "last");
    store.close().await;
    other.close().await;
}

/// The actions of a user, as fast as possible.
async fn session(store: &Store, user: &User) -> Result<(), Error> {
    let owner = user.id;
    let now = OffsetDateTime::now_utc();
    let login = store.start_session(user, login(now + Duration::HOUR)).await?;
    let project = store.add_project(owner, "new").await?.id;
    let destination = store.add_destination(owner, project, new_destination("d", "key")).await?.id;
    assert!(store.session_user(login.id).await?.is_some());
    assert_eq!(store.destinations(project).await?.len(), 1);

    let stream = Uuid::now_v7();
    store.start_stream(stream, project, "node", now).await?;
    let change = DestinationChange { enabled: Some(false), ..Default::default() };
    let (changed, renamed, status) = tokio::join!(
        store.change_destination(owner, destination, change),
        store.change_project(owner, project, renamed("renamed")),
        store.set_stream_status(stream, StreamStatus::Reconnecting),
    );
    assert!(!changed?.enabled);
    assert_eq!(renamed?.name, "renamed");
    status?;
    let other = crate::backend::user(store).await.id;
    store.set_password(other, "new hash", None, Revoke::SESSIONS).await?;
    store.end_stream(stream, now, EndReason::EncoderStopped).await?;
    assert_eq!(store.delete_destination(owner, destination).await?, project);
    Ok(())
}
