use std::{net::SocketAddr, sync::Arc};

use gostream_engine::{
    Admission, EngineConfig, Refusal, events,
    spec::{AccountId, Goodbye, ProjectSpec, StreamKey},
};
use gostream_net::BoxFuture;
use gostream_store::{Action, Keyring, Stream};
use gostream_testkit::{PATIENCE, encoder::Encoder};
use tempfile::TempDir;

use super::*;

/// Admits every key to one project.
struct Open(ProjectId);

impl Admission for Open {
    fn admit<'a>(&'a self, key: &'a StreamKey, _peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        Box::pin(async move {
            Ok(ProjectSpec {
                id: self.0,
                account: AccountId(Uuid::nil()),
                stream_key: key.clone(),
                playback_id: "watch".to_owned(),
                goodbye: Goodbye::Ends,
                destinations: Vec::new(),
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_ends_its_stream_and_no_later_one() {
    let data = TempDir::new().expect("is made");
    let url = format!("sqlite://{}/store.db", data.path().display());
    let store = Store::open(&url, Keyring::new([7; 32])).await.expect("opens");
    let owner = store.add_user("me@example.org", "hash").await.expect("is added").id;
    let id = store.add_project(owner, "Sunday service").await.expect("is added").id;
    let config = EngineConfig { rtmp_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..EngineConfig::default() };
    let engine = Engine::start(config, Arc::new(Open(ProjectId(id))), events::channel(16).0).await.expect("starts");
    let mut inbox = Inbox::new(store.clone(), engine.clone(), "here".to_owned());
    let begun = async |stream: Uuid| -> Stream {
        store.start_stream(stream, id, "here", OffsetDateTime::now_utc()).await.expect("is written");
        store.open_stream(id).await.expect("is read").expect("is open")
    };
    let end = async |stream: Stream| {
        let audit = (Action::StreamEnded, "Sunday service");
        store.add_stream_commands(owner, &[stream], StreamAction::End, audit).await.expect("is written");
    };
    let left = async || store.stream_commands("here", OffsetDateTime::now_utc()).await.expect("is read").due.len();

    let earlier = begun(Uuid::now_v7()).await;
    let mut encoder = Encoder::publish(engine.rtmp_addr(), "key").await.expect("is admitted");
    let mut watch = engine.watch(ProjectId(id));
    // A status is published moments after the admission.
    let status = timeout(PATIENCE, watch.wait_for(Option::is_some))
        .await
        .expect("is published")
        .expect("is watched")
        .clone();
    let live = status.expect("is live").stream.id.0;
    end(earlier).await;
    inbox.execute().await;
    assert_eq!((engine.streams().len(), left().await), (1, 0), "it was for another stream");

    end(begun(live).await).await;
    // The database accepts no more changes: the command is executed, but only once.
    store.refuse_changes();
    inbox.execute().await;
    encoder.closed().await.expect("is closed");
    assert_eq!((left().await, inbox.executed.len()), (1, 1));
    inbox.execute().await;
    assert_eq!(inbox.executed.len(), 1);
    engine.shutdown().await;
}
