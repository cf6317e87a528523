//! Quotas, on a server with strict limits.

use futures::future::join_all;
use gostream_testkit::{PATIENCE, encoder::Encoder, postgres::Postgres, script::Script};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    app::{TestApp, destination, text},
    http::{Client, Reply},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_a_quota_are_refused_with_a_reason() {
    let strict = [("quota.projects", "2"), ("quota.destinations", "1"), ("quota.live_streams", "1")];
    let app = TestApp::start(&strict).await;
    let me = app.user("me@example.org").await;
    let (first, second) = (app.project(&me).await, app.project(&me).await);
    let refused = me.post("/api/projects", json!({"name": "One too many"})).await.problem(403, "quota_exceeded");
    assert!(text(&refused["detail"]).contains("2 projects"), "{refused}");
    let path = format!("/api/projects/{}/destinations", text(&first["id"]));
    me.post(&path, destination("rtmp://a.example/live", "a-key")).await.json(201);
    me.post(&path, destination("rtmp://a.example/live", "b-key")).await.problem(403, "quota_exceeded");

    let _encoder = Encoder::publish(app.rtmp(), text(&first["streamKey"])).await.expect("admitted");
    // Takes effect at once: live streams are counted in the engine, not in rows that are written later.
    assert!(Encoder::publish(app.rtmp(), text(&second["streamKey"])).await.is_err(), "a second stream is refused");
    let again = Encoder::publish(app.rtmp(), text(&first["streamKey"])).await.expect("the live one may reconnect");
    again.stop().await.expect("says goodbye");
    // Its row may remain open for a while, but does not count.
    let mut status = me.get(&format!("/api/projects/{}", text(&first["id"]))).await.json(200)["status"].clone();
    while status != "offline" {
        status = me.get(&format!("/api/projects/{}", text(&first["id"]))).await.json(200)["status"].clone();
    }
    Encoder::publish(app.rtmp(), text(&second["streamKey"])).await.expect("there is room again");

    // Another account has quotas of its own.
    let other = app.user("other@example.org").await;
    let theirs = app.project(&other).await;
    Encoder::publish(app.rtmp(), text(&theirs["streamKey"])).await.expect("admitted");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_concurrent_requests_stay_within_the_quota() {
    let url = Postgres::shared().database();
    for database in [None, Some(("database.url", url.as_str()))] {
        let flags = [("quota.projects", "5"), ("quota.destinations", "5")];
        let app = TestApp::start(&flags.into_iter().chain(database).collect::<Vec<_>>()).await;
        let me = app.user("me@example.org").await;
        let path = "/api/projects".to_owned();
        let first = at_once(&me, &path, json!({"name": "p"})).await;
        assert_eq!(me.get(&path).await.json(200).as_array().map(Vec::len), Some(5));

        let path = format!("/api/projects/{}", text(&first["id"]));
        at_once(&me, &format!("{path}/destinations"), destination("rtmp://a.example/live", "a-key")).await;
        assert_eq!(me.get(&path).await.json(200)["destinations"].as_array().map(Vec::len), Some(5));
        app.stop().await;
    }
}

/// Sends a hundred requests, of which five succeed. Returns one of the created objects.
async fn at_once(client: &Client, path: &str, body: Value) -> Value {
    let replies = join_all((0..100).map(|_| client.post(path, body.clone()))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert_eq!((taken.len(), refused.len()), (5, 95));
    // On a slow machine, some requests time out while waiting for the database.
    let away = |reply: &&Reply| reply.status != 503;
    for reply in refused.iter().filter(away) {
        reply.problem(403, "quota_exceeded");
    }
    client.post(path, body).await.problem(403, "quota_exceeded");
    taken[0].json(201)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_above_the_rate_limit_ends_with_a_reason() {
    let app = TestApp::start(&[("quota.ingest_bitrate", "100")]).await;
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    // The server may have closed before everything is sent.
    let _ = encoder.send_all(&Script { ms: 4_000, ..Script::default() }.write()).await;
    encoder.closed().await.expect("closed");
    assert!(Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.is_err(), "the key has a cooldown");

    let history = format!("/api/projects/{}/streams", text(&project["id"]));
    let ended = async {
        loop {
            let page = me.get(&history).await.json(200);
            if page["items"][0]["status"] == "ended" {
                break page["items"][0].clone();
            }
        }
    };
    let stream = timeout(PATIENCE, ended).await.expect("the row is written shortly after the end");
    assert_eq!(stream["endReason"], "too_fast");
    let seen = async {
        loop {
            let report = me.get(&format!("{history}/{}", text(&stream["id"]))).await.json(200);
            let last = report["events"].as_array().unwrap().last().unwrap().clone();
            if last["state"] == "ended" {
                break last;
            }
        }
    };
    let last = timeout(PATIENCE, seen).await.expect("the timeline is written after the row");
    assert!(text(&last["message"]).contains("100 kbit/s"), "{last}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_a_limited_number_of_event_streams() {
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let path = format!("/api/projects/{}/events", text(&app.project(&me).await["id"]));
    let mut followed = Vec::new();
    while followed.len() < 256 {
        followed.push(me.events(&path).await);
    }
    let refused = me.get(&path).await.problem(403, "quota_exceeded");
    assert!(text(&refused["detail"]).contains("256"), "{refused}");

    let other = app.user("other@example.org").await;
    let theirs = app.project(&other).await;
    other.events(&format!("/api/projects/{}/events", text(&theirs["id"]))).await;
    // After one is closed, its place is free once the server has noticed.
    drop(followed.pop());
    let freed = async {
        loop {
            let (status, events) = me.try_events(&path).await;
            if status == 200 {
                break events;
            }
        }
    };
    timeout(PATIENCE, freed).await.expect("places come back");
    drop(followed);
    app.stop().await;
}
