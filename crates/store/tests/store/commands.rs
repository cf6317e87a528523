//! Commands for streams on other nodes.

use gostream_store::{Action, COMMAND_LIFETIME, Error, Store, Stream, StreamAction, StreamCommand, StreamStatus};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::backend::{Backend, project};

const NONE: [StreamCommand; 0] = [];

async fn stream(store: &Store, project: Uuid, node: &str) -> Stream {
    store.start_stream(Uuid::now_v7(), project, node, OffsetDateTime::now_utc()).await.unwrap();
    store.open_stream(project).await.unwrap().unwrap()
}

async fn due(store: &Store, node: &str) -> Vec<StreamCommand> {
    let found = store.stream_commands(node, OffsetDateTime::now_utc()).await.unwrap();
    assert!(found.expired.is_empty());
    found.due
}

pub async fn a_command_reaches_the_server_that_owns_the_stream(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let live = [stream(&store, project.id, "a").await];
    let retry = StreamAction::Retry(Uuid::new_v4());
    for action in [StreamAction::Retry(Uuid::new_v4()), retry, StreamAction::End, retry] {
        store
            .add_stream_commands(owner.id, &live, action, (Action::StreamEnded, "Sunday service"))
            .await
            .unwrap();
    }
    assert_eq!(due(&store, "b").await, NONE);
    let found = due(&store, "a").await;
    let actions: Vec<_> = found.iter().map(|command| command.action).collect();
    assert!(matches!(actions[..], [StreamAction::Retry(_), StreamAction::End, last] if last == retry), "{actions:?}");
    assert!(found.iter().all(|command| command.stream_id == live[0].id && command.project_id == project.id));
    assert_eq!(
        store
            .audit(owner.id, 100)
            .await
            .unwrap()
            .iter()
            .filter(|line| line.action == "stream_ended")
            .count(),
        4
    );

    let ids: Vec<_> = found.iter().map(|command| command.id).collect();
    store.remove_stream_commands(&ids[..2]).await.unwrap();
    assert_eq!(due(&store, "a").await, found[2..]);
    // Remaining commands are deleted with the stream.
    store.delete_project(owner.id, project.id).await.unwrap();
    assert_eq!(due(&store, "a").await, NONE);
    store.close().await;
}

pub async fn an_unexecuted_command_expires(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let live = [stream(&store, project.id, "a").await];
    store
        .add_stream_commands(owner.id, &live, StreamAction::End, (Action::StreamEnded, "one"))
        .await
        .unwrap();
    let id = due(&store, "a").await[0].id;
    let later = OffsetDateTime::now_utc() + COMMAND_LIFETIME + std::time::Duration::from_secs(1);
    for node in ["a", "b"] {
        let found = store.stream_commands(node, later).await.unwrap();
        assert_eq!((found.due, found.expired), (Vec::new(), vec![id]), "{node}");
    }
    store.remove_stream_commands(&[id]).await.unwrap();
    let found = store.stream_commands("b", later).await.unwrap();
    assert!(found.expired.is_empty());
    store.close().await;
}

pub async fn a_command_and_its_audit_line_are_atomic(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let live = stream(&store, project.id, "a").await;
    let unknown = Stream { id: Uuid::new_v4(), status: StreamStatus::Live, ..live.clone() };
    let audit = (Action::StreamEnded, "Sunday service");
    let gone = store.add_stream_commands(owner.id, &[live.clone(), unknown], StreamAction::End, audit).await;
    assert!(matches!(gone, Err(Error::NotFound)), "{gone:?}");
    assert_eq!(due(&store, "a").await, NONE);
    assert!(store.audit(owner.id, 100).await.unwrap().iter().all(|line| line.action != "stream_ended"));

    let unknown = Uuid::new_v4();
    store.add_stream_commands(unknown, &[live], StreamAction::End, audit).await.unwrap_err();
    assert_eq!(due(&store, "a").await, NONE, "no command without its audit line");
    store.close().await;
}
