//! A stream key is sent only to servers that its owner chose, and logins in URLs are never shown.

use serde_json::{Value, json};

use crate::{
    app::{TestApp, destination, text},
    http::Client,
};

/// A leaked token of an account.
async fn leaked(app: &TestApp, owner: &Client) -> Client {
    let made = owner.post("/api/auth/tokens", json!({"name": "Stream deck"})).await.json(201);
    Client { token: Some(text(&made["token"]).to_owned()), ..app.client.clone() }
}

pub async fn a_key_is_sent_only_to_its_recipients(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}/destinations", text(&project["id"]));
    let made = me.post(&path, destination("rtmps://a.example/app", "a-secret-key-1234")).await.json(201);
    let path = format!("/api/destinations/{}", text(&made["id"]));
    let thief = leaked(app, &me).await;
    let before = me.get("/api/auth/audit").await.json(200);
    for stolen in [
        json!({"rtmpUrl": "rtmps://thief.example/app"}),
        json!({"backupUrl": "rtmps://thief.example/app"}),
        json!({"rtmpUrl": "rtmps://a.example/other", "backupUrl": "rtmps://thief.example/app"}),
        json!({"rtmpUrl": "rtmps://thief.example/app", "backupUrl": "rtmps://a.example/app", "name": "x"}),
        // A man in the middle, and another server on another port.
        json!({"rtmpUrl": "rtmp://a.example/app"}),
        json!({"rtmpUrl": "rtmp://a.example:443/app"}),
        json!({"rtmpUrl": "rtmps://a.example:444/app"}),
        json!({"rtmpUrl": "rtmps://a.example@thief.example/app"}),
        json!({"rtmpUrl": "rtmps://sub.a.example/app"}),
    ] {
        let refused = thief.patch(&path, stolen.clone()).await.problem(422, "stream_key_required");
        assert_eq!(refused["errors"][0]["field"], "streamKey", "{stolen}");
        assert!(text(&refused["detail"]).contains("stream key again"), "{refused}");
    }
    let now = me.get(&format!("/api/projects/{}", text(&project["id"]))).await.json(200);
    assert_eq!(now["destinations"][0], made, "the destination is unchanged");
    assert_eq!(me.get("/api/auth/audit").await.json(200), before);

    // The same server in other spellings; one that has the key; and any server with a new key.
    for fine in [
        json!({"rtmpUrl": "rtmps://A.example:443/other?backup=1"}),
        json!({"backupUrl": "rtmps://a.example/backup"}),
        json!({"backupUrl": "rtmps://b.example/backup", "streamKey": "another-key-5678"}),
        json!({"rtmpUrl": "rtmps://b.example/app", "backupUrl": "rtmps://a.example/app"}),
        json!({"backupUrl": null}),
        json!({"rtmpUrl": "rtmp://c.example/app", "streamKey": "another-key-9999"}),
    ] {
        me.patch(&path, fine).await.json(200);
    }
    // A former backup server does not have the new key.
    thief
        .patch(&path, json!({"backupUrl": "rtmps://a.example/app"}))
        .await
        .problem(422, "stream_key_required");
}

pub async fn a_login_in_a_url_is_never_shown(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let new = json!({"name": "Front", "pullUrl": "rtmp://me:hunter1@127.0.0.1:1/live"});
    let project = me.post("/api/projects", new).await.json(201);
    assert_eq!(project["pullUrl"], "rtmp://****@127.0.0.1:1/live");
    let path = format!("/api/projects/{}", text(&project["id"]));
    let mut new = destination("rtmp://me:hunter2@a.example/app", "a-key");
    new["backupUrl"] = json!("rtmp://me:hunter3@b.example/app");
    let made = me.post(&format!("{path}/destinations"), new.clone()).await.json(201);
    let one = format!("/api/destinations/{}", text(&made["id"]));

    // Saving the masked URL keeps the login, for the same server only.
    for same in
        [json!({"rtmpUrl": "rtmp://****@a.example/app", "name": "Same"}), json!({"rtmpUrl": "rtmp://****@a.example/x"})]
    {
        me.patch(&one, same).await.json(200);
    }
    let moved = json!({"rtmpUrl": "rtmp://****@thief.example/app", "streamKey": "my-own"});
    let refused = me.patch(&one, moved).await.bad_fields(&["rtmpUrl"]);
    assert!(text(&refused["detail"]).contains("Enter the login"), "{refused}");
    me.patch(&one, json!({"rtmpUrl": "rtmp://****@thief.example/app"}))
        .await
        .problem(422, "stream_key_required");
    // The login of one server is not used for the other, although both have the key.
    let swapped = json!({"rtmpUrl": "rtmp://****@b.example/app"});
    me.patch(&one, swapped).await.bad_fields(&["rtmpUrl"]);
    me.patch(&path, json!({"pullUrl": "rtmp://****@127.0.0.1:2/live"})).await.bad_fields(&["pullUrl"]);
    me.patch(&path, json!({"pullUrl": "rtmp://****@127.0.0.1:1/other"})).await.json(200);
    let nobodys = json!({"name": "x", "pullUrl": "rtmp://****@127.0.0.1:1/live"});
    me.post("/api/projects", nobodys).await.bad_fields(&["pullUrl"]);
    new["rtmpUrl"] = json!("rtmp://****@a.example/app");
    me.post(&format!("{path}/destinations"), new).await.bad_fields(&["rtmpUrl"]);

    let whole = me.get(&path).await;
    let shown = whole.json(200);
    let only = &shown["destinations"][0];
    assert_eq!(only["rtmpUrl"], "rtmp://****@a.example/x");
    assert_eq!(only["backupUrl"], "rtmp://****@b.example/app");
    assert_eq!(shown["pullUrl"], "rtmp://****@127.0.0.1:1/other");
    let (_, event) = me.events(&format!("{path}/events")).await.next().await.unwrap();
    let audit = me.get("/api/auth/audit").await;
    for text in [whole.text(), event.to_string(), audit.text()] {
        assert!(!text.contains("hunter") && text.contains("****"), "{text}");
    }
    me.patch(&path, json!({"pullUrl": Value::Null})).await.json(200);
    me.patch(&path, json!({"pullUrl": "rtmp://****@127.0.0.1:1/live"})).await.bad_fields(&["pullUrl"]);
}
