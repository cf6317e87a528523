//! What servers on one PostgreSQL tell each other at once.

use gostream_store::{Listener, ListenerEvent, Notification, Notifier, Store};
use gostream_testkit::{PATIENCE, postgres::Postgres};
use tokio::time::timeout;
use uuid::Uuid;

use crate::backend::Backend;

const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'gostream-listener'";

/// Both ends, of a server that listens.
async fn server(store: &Store, url: &str) -> (Notifier, Listener) {
    let (notifier, mut listener) = store.notifications(url).unwrap().expect("there may be other servers");
    assert_eq!(next(&mut listener).await, ListenerEvent::Listening);
    (notifier, listener)
}

async fn next(listener: &mut Listener) -> ListenerEvent {
    timeout(PATIENCE, listener.next()).await.expect("hears something")
}

#[tokio::test]
async fn notifications_reach_the_other_servers_also_after_the_connection_was_lost() {
    let db = Backend::postgres();
    let store = db.open().await;
    let (one, mut at_one) = server(&store, &db.url).await;
    let (other, mut at_other) = server(&store, &db.url).await;
    // Those of more than one payload, in their order.
    let projects: Vec<_> = (0..450).map(|_| Notification::Project(Uuid::new_v4())).collect();
    let sent = projects.iter().copied().chain([Notification::Sessions, Notification::Commands]);
    one.notify(sent.clone()).await.unwrap();
    for expected in sent {
        assert_eq!(next(&mut at_other).await, ListenerEvent::Notification(expected));
    }
    other.notify([Notification::Sessions]).await.unwrap();
    assert_eq!(
        next(&mut at_one).await,
        ListenerEvent::Notification(Notification::Sessions),
        "its own are not among them"
    );

    Postgres::shared().sql(&db.url, KILL).unwrap();
    assert_eq!(next(&mut at_other).await, ListenerEvent::Listening, "it may have missed some");
    one.notify([Notification::Commands]).await.unwrap();
    assert_eq!(next(&mut at_other).await, ListenerEvent::Notification(Notification::Commands));
    store.close().await;
}

#[tokio::test]
async fn a_file_has_no_other_servers() {
    let db = Backend::sqlite();
    let store = db.open().await;
    assert!(store.notifications(&db.url).unwrap().is_none());
    store.close().await;
}
