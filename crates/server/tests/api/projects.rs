//! Projects and their history.

use serde_json::{Value, json};

use crate::{
    app::{TestApp, destination, text},
    http::Call,
};

pub async fn a_project_is_created_changed_and_deleted(app: &TestApp) {
    let me = app.user("me@example.org").await;
    assert_eq!(me.get("/api/projects").await.json(200), json!([]));
    let created = me.post("/api/projects", json!({"name": "  Sunday service "})).await.json(201);
    let (id, key, playback) = (text(&created["id"]), text(&created["streamKey"]), text(&created["playbackId"]));
    assert_eq!(created["name"], "Sunday service");
    assert_eq!(created["status"], "offline");
    assert_eq!(created["stream"], Value::Null);
    assert_eq!(created.get("destinations"), None);
    assert_eq!(key.len(), 36, "a UUID");
    assert!(playback.len() >= 20 && !key.contains(playback));
    let (web, rtmp) = (app.client.address, app.rtmp().port());
    assert_eq!(created["ingestUrl"], format!("rtmp://127.0.0.1:{rtmp}/live"));
    assert_eq!(created["legacyHlsUrl"], format!("http://{web}/hls/{key}.m3u8"));
    assert_eq!(created["previewUrl"], format!("http://{web}/hls/{playback}/index.m3u8"));
    assert!(text(&created["createdAt"]).ends_with('Z'), "UTC: {created}");

    let path = format!("/api/projects/{id}");
    let second = me.post("/api/projects", json!({"name": "Second"})).await.json(201);
    let listed = me.get("/api/projects").await.json(200);
    assert_eq!(listed, json!([second, created]), "newest first");
    let shown = me.get(&path).await.json(200);
    assert_eq!(shown["destinations"], json!([]));
    assert_eq!(shown["streamKey"], created["streamKey"]);

    let renamed = me.patch(&path, json!({"name": "Evening"})).await.json(200);
    assert_eq!((text(&renamed["name"]), text(&renamed["streamKey"])), ("Evening", key));
    assert_eq!(me.patch(&path, json!({})).await.json(200)["name"], "Evening", "nothing to change");

    let rotated = me.post(&format!("{path}/stream-key"), Value::Null).await.json(200);
    assert_ne!(rotated["streamKey"], created["streamKey"]);
    assert_eq!(rotated["playbackId"], created["playbackId"]);
    let moved = me.post(&format!("{path}/playback-id"), Value::Null).await.json(200);
    assert_ne!(moved["playbackId"], created["playbackId"]);
    assert_eq!(moved["streamKey"], rotated["streamKey"]);

    me.post(&format!("{path}/destinations"), destination("rtmp://a.example/live", "k-12345678"))
        .await
        .json(201);
    me.delete(&path).await.empty(204);
    me.delete(&path).await.problem(404, "not_found");
    me.get(&path).await.problem(404, "not_found");
    assert_eq!(me.get("/api/projects").await.json(200), json!([second]));
}

pub async fn history_is_paged(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let id = app.project(&me).await["id"].clone();
    let path = format!("/api/projects/{}/streams", text(&id));
    assert_eq!(me.get(&path).await.json(200), json!({"items": [], "nextCursor": null}));
    me.get(&format!("{path}?limit=100")).await.json(200);
    for limit in ["0", "101"] {
        me.get(&format!("{path}?limit={limit}")).await.bad_fields(&["limit"]);
    }
    me.get(&format!("{path}?limit=x")).await.bad_fields(&["query"]);
    me.get(&format!("{path}?cursor=x")).await.bad_fields(&["cursor"]);
    me.send(Call::new("POST", &path)).await.problem(405, "method_not_allowed");
}
