use std::net::SocketAddr;

use gostream_engine::{EngineConfig, events};
use gostream_store::{Keyring, Store};
use gostream_testkit::{PATIENCE, encoder::Encoder};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

/// Another server on the same database, or the command line, does not notify this engine: the sweep finds the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_ends_the_stream_of_a_deleted_project_or_a_replaced_key() {
    let data = TempDir::new().expect("is made");
    let url = format!("sqlite://{}/store.db", data.path().display());
    let store = Store::open(&url, Keyring::new([7; 32])).await.expect("opens");
    let owner = store.add_user("me@example.org", "hash").await.expect("is added").id;
    let project = store.add_project(owner, "Sunday service").await.expect("is added");
    let gate = Arc::new(Gate {
        store: store.clone(),
        wakes: Arc::default(),
        unknown_key_attempts: Arc::default(),
        limits: Arc::default(),
        stopping: CancellationToken::new(),
    });
    let config = EngineConfig { rtmp_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..EngineConfig::default() };
    let engine = Engine::start(config, gate.clone(), events::channel(16).0).await.expect("starts");
    let reconciler = Reconciler::new(gate, engine.clone(), Arc::default(), "node".to_owned());
    let id = ProjectId(project.id);
    let mut watch = engine.watch(id);

    let old_key = project.stream_key.expose_secret();
    let mut encoder = Encoder::publish(engine.rtmp_addr(), old_key).await.expect("is admitted");
    reconciler.reconcile(id).await;
    assert_eq!(engine.streams().len(), 1, "nothing has changed");
    let rotated = store.rotate_stream_key(owner, project.id).await.expect("is replaced");
    reconciler.reconcile(id).await;
    encoder.closed().await.expect("is closed");
    timeout(PATIENCE, watch.wait_for(Option::is_none)).await.expect("ends").expect("is watched");
    Encoder::publish(engine.rtmp_addr(), old_key).await.expect_err("the old key is unknown");

    let new_key = rotated.stream_key.expose_secret();
    let mut encoder = Encoder::publish(engine.rtmp_addr(), new_key).await.expect("is admitted");
    reconciler.reconcile(id).await;
    assert_eq!(engine.streams().len(), 1, "the new key is the right one");
    store.delete_project(owner, project.id).await.expect("is deleted");
    reconciler.reconcile(id).await;
    encoder.closed().await.expect("is closed");
    engine.shutdown().await;
}
