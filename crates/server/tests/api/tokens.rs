//! API tokens and the audit log.

use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, TestApp, destination, text},
    http::Client,
};

pub async fn a_full_token_has_the_owners_rights_except_account_access(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    me.post("/api/auth/tokens", json!({"name": " "})).await.bad_fields(&["name"]);
    let made = me.post("/api/auth/tokens", json!({"name": "Stream deck"})).await.json(201);
    assert!(text(&made["token"]).starts_with("gst_") && text(&made["token"]).len() > 40);
    assert_eq!(made["lastUsedAt"], Value::Null);
    let script = Client { token: Some(text(&made["token"]).to_owned()), ..app.client.clone() };

    assert_eq!(script.get("/api/projects").await.json(200)[0]["id"], project["id"]);
    let path = format!("/api/projects/{}", text(&project["id"]));
    script
        .post(&format!("{path}/destinations"), destination("rtmp://a.example/live", "a-key"))
        .await
        .json(201);
    let mut events = script.events(&format!("{path}/events")).await;
    events.next().await.expect("a snapshot");
    for (method, path) in [
        ("GET", "/api/auth/tokens"),
        ("GET", "/api/auth/sessions"),
        ("DELETE", "/api/auth/sessions"),
        ("GET", "/api/auth/audit"),
        ("POST", "/api/auth/logout"),
    ] {
        script.send(crate::http::Call::new(method, path)).await.problem(403, "login_required");
    }
    script
        .post("/api/auth/password", json!({"currentPassword": PASSWORD, "newPassword": "another lamp in the rain"}))
        .await
        .problem(403, "login_required");

    let listed = me.get("/api/auth/tokens").await;
    assert!(!listed.text().contains(text(&made["token"])), "shown once");
    let listed = listed.json(200);
    assert!(listed[0]["lastUsedAt"].is_string());
    let other = app.user("other@example.org").await;
    let path = format!("/api/auth/tokens/{}", text(&made["id"]));
    other.delete(&path).await.problem(404, "not_found");
    me.delete(&path).await.empty(204);
    script.get("/api/projects").await.problem(401, "unauthorized");
    events.ended().await;
    let forged =
        Client { token: Some("gst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()), ..app.client.clone() };
    forged.get("/api/projects").await.problem(401, "unauthorized");
}

pub async fn a_read_token_changes_nothing_and_sees_no_key(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let key = text(&project["streamKey"]);
    let made = me.post("/api/auth/tokens", json!({"name": "Wall screen", "scope": "read"})).await.json(201);
    assert_eq!(made["scope"], "read");
    let screen = Client { token: Some(text(&made["token"]).to_owned()), ..app.client.clone() };
    let path = format!("/api/projects/{}", text(&project["id"]));

    let listed = screen.get("/api/projects").await;
    assert_eq!(listed.json(200)[0]["streamKey"], "****");
    let shown = screen.get(&path).await;
    assert_eq!(shown.json(200)["playbackId"], project["playbackId"]);
    let mut events = screen.events(&format!("{path}/events")).await;
    let (_, snapshot) = events.next().await.expect("a snapshot");
    for text in [listed.text(), shown.text(), snapshot.to_string()] {
        assert!(!text.contains(key), "{text}");
    }
    let new = json!({"name": "Renamed"});
    screen.patch(&path, new.clone()).await.problem(403, "not_allowed");
    screen.post("/api/projects", new).await.problem(403, "not_allowed");
    screen.post(&format!("{path}/stream-key"), Value::Null).await.problem(403, "not_allowed");
    screen.delete(&path).await.problem(403, "not_allowed");
    assert_eq!(me.get(&path).await.json(200)["streamKey"], project["streamKey"]);
    me.post("/api/auth/tokens", json!({"name": "x", "scope": "admin"})).await.bad_fields(&["scope"]);
}

pub async fn tokens_are_limited_in_number_and_expire(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let make = async |body: Value| me.post("/api/auth/tokens", body).await;
    for (bad, field) in [
        (json!({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"}), "expiresAt"),
        (json!({"name": "x", "expiresAt": "tomorrow"}), "expiresAt"),
        (json!({"name": "x", "expiresAt": 7}), "expiresAt"),
    ] {
        make(bad).await.bad_fields(&[field]);
    }
    let made = make(json!({"name": "x"})).await.json(201);
    assert_eq!(made["scope"], "full");
    let (from, to) = (text(&made["createdAt"]), text(&made["expiresAt"]));
    let year = |time: &str| time[..4].parse::<u32>().unwrap();
    assert!((0..=1).contains(&(year(to) - year(from))) && to > from, "a year by default: {made}");
    let given = make(json!({"name": "x", "expiresAt": "2099-01-01T01:00:00+01:00"})).await.json(201);
    assert_eq!(given["expiresAt"], "2099-01-01T00:00:00Z");
    assert_eq!(make(json!({"name": "x", "expiresAt": null})).await.json(201)["expiresAt"], Value::Null);

    for _ in 3..50 {
        make(json!({"name": "x"})).await.json(201);
    }
    let refused = make(json!({"name": "x"})).await.problem(403, "quota_exceeded");
    assert!(text(&refused["detail"]).contains("tokens"), "{refused}");
    me.delete(&format!("/api/auth/tokens/{}", text(&made["id"]))).await.empty(204);
    make(json!({"name": "x"})).await.json(201);
}

pub async fn actions_are_audited(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    let made = me
        .post(&format!("{path}/destinations"), destination("rtmp://a.example/live", "a-secret-key"))
        .await
        .json(201);
    let destination = format!("/api/destinations/{}", text(&made["id"]));
    me.patch(&destination, json!({"name": "Main channel", "streamKey": "another-secret-key"}))
        .await
        .json(200);
    me.delete(&destination).await.empty(204);
    me.post(&format!("{path}/stream-key"), Value::Null).await.json(200);
    let wrong = json!({"email": "me@example.org", "password": "not this one at all"});
    app.client.post("/api/auth/login", wrong).await.problem(401, "invalid_credentials");
    me.delete(&path).await.empty(204);

    let audit = me.get("/api/auth/audit").await;
    assert!(!audit.text().contains("secret"), "the audit log contains no key");
    let audit = audit.json(200);
    let entries = audit.as_array().expect("is a list");
    let actions: Vec<_> = entries.iter().map(|entry| text(&entry["action"])).collect();
    assert_eq!(
        actions,
        [
            "project_deleted",
            "login_failed",
            "stream_key_rotated",
            "destination_deleted",
            "destination_changed",
            "destination_added",
            "project_created",
            "signup",
        ]
    );
    assert_eq!(entries[4]["object"], json!("Main channel"));
    assert!(entries.iter().all(|entry| entry["address"] == json!("127.0.0.1")));
    let other = app.user("other@example.org").await;
    assert_eq!(other.get("/api/auth/audit").await.json(200).as_array().map(Vec::len), Some(1));
}

pub async fn a_shown_key_is_audited_once_per_session(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let (first, second) = (app.project(&me).await, app.project(&me).await);
    let path = format!("/api/projects/{}", text(&first["id"]));
    let log_in = || async {
        let account = json!({"email": "me@example.org", "password": PASSWORD});
        let token = text(&app.client.post("/api/auth/login", account).await.json(200)["token"]).to_owned();
        Client { token: Some(token), ..app.client.clone() }
    };
    let shown = || async {
        let audit = me.get("/api/auth/audit").await.json(200);
        let shown = audit.as_array().unwrap().iter().filter(|entry| entry["action"] == "stream_key_shown");
        shown.map(|entry| text(&entry["object"]).to_owned()).collect::<Vec<_>>()
    };
    me.get("/api/projects").await.json(200);
    assert!(shown().await.is_empty(), "its creator has seen it, which is audited already");

    let other = log_in().await;
    for _ in 0..3 {
        other.get(&path).await.json(200);
        other.patch(&path, json!({"name": "Evening service"})).await.json(200);
        other.events(&format!("{path}/events")).await.next().await.unwrap();
    }
    assert_eq!(shown().await, ["Sunday service"], "once, however often it is shown");
    other.get("/api/projects").await.json(200);
    assert_eq!(shown().await.len(), 2, "the list shows the other one as well: {second}");
    log_in().await.get("/api/projects").await.json(200);
    assert_eq!(shown().await[0], "2 projects");

    me.post(&format!("{path}/stream-key"), Value::Null).await.json(200);
    me.get(&path).await.json(200);
    assert_eq!(shown().await.len(), 3);
    other.get(&path).await.json(200);
    assert_eq!(shown().await[0], "Evening service", "a new key is audited again");
}
