//! What an account may have, on a server whose keeper is strict.

use gostream_testkit::{PATIENCE, encoder::Encoder, script::Script};
use serde_json::json;
use tokio::time::timeout;

use crate::app::{TestApp, destination, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_gets_its_share_and_a_sentence_beyond_it() {
    let strict = [("quota.projects", "2"), ("quota.destinations", "1"), ("quota.live_streams", "1")];
    let app = TestApp::start(&strict).await;
    let me = app.user("me@example.org").await;
    let (first, second) = (app.project(&me).await, app.project(&me).await);
    let refused = me.post("/api/projects", json!({"name": "One too many"})).await.problem(403, "quota_exceeded");
    assert!(text(&refused["detail"]).contains("2 projects"), "{refused}");
    let path = format!("/api/projects/{}/destinations", text(&first["id"]));
    me.post(&path, destination("rtmp://a.example/live", "a-key")).await.json(201);
    me.post(&path, destination("rtmp://a.example/live", "b-key")).await.problem(403, "quota_exceeded");

    let mut encoder = Encoder::publish(app.rtmp(), text(&first["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    let history = format!("/api/projects/{}/streams", text(&first["id"]));
    let written = async { while me.get(&history).await.json(200)["items"].as_array().is_none_or(Vec::is_empty) {} };
    timeout(PATIENCE, written).await.expect("the row is written a moment after the stream began");
    assert!(Encoder::publish(app.rtmp(), text(&second["streamKey"])).await.is_err(), "a second stream is refused");
    let again = Encoder::publish(app.rtmp(), text(&first["streamKey"])).await;
    assert!(again.is_ok(), "the one that is live may come back");

    // Another account has a share of its own.
    let other = app.user("other@example.org").await;
    let theirs = app.project(&other).await;
    Encoder::publish(app.rtmp(), text(&theirs["streamKey"])).await.expect("admitted");
    app.stop().await;
}
