//! For any input, the response is a problem document with the right status and helpful text.

use serde_json::json;

use crate::{
    app::{PASSWORD, TestApp, destination, text},
    http::Call,
};

pub async fn invalid_json_bodies_are_refused(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let post = |kind: &str, body: &str| {
        let call = Call::new("POST", "/api/projects").body(kind, body);
        let me = me.clone();
        async move { me.send(call).await }
    };
    for body in ["", "{", "{\"name\":}", "name=x", "{\"name\":\"x\"} trailing", "\u{feff}{}", "{\"name\":\"\\ud800\"}"]
    {
        post("application/json", body).await.problem(400, "malformed_json");
    }
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        post(kind, "{\"name\":\"x\"}").await.problem(415, "unsupported_media_type");
    }
    post("application/json; charset=utf-8", "{\"name\":\"x\"}").await.json(201);
    post("application/json", &format!("{{\"name\":\"{}\"}}", "x".repeat(70_000)))
        .await
        .problem(413, "body_too_large");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(post("application/json", &deep).await.status / 100, 4);

    for array in ["[]", "[\"x\"]", "[\"x\",null]"] {
        post("application/json", array).await.bad_fields(&["body"]);
    }
    post("application/json", "null").await.bad_fields(&["body"]);
    post("application/json", "{}").await.bad_fields(&["name"]);
    post("application/json", "{\"name\":null}").await.bad_fields(&["name"]);
    post("application/json", "{\"name\":3}").await.bad_fields(&["name"]);
    post("application/json", "{\"name\":\"a\",\"name\":\"b\"}").await.bad_fields(&["name"]);
    let problem = post("application/json", "{\"name\":\"x\",\"owner\":1}").await.bad_fields(&["owner"]);
    assert!(text(&problem["detail"]).contains("Unknown field `owner`"), "{problem}");
    // The body of an unauthenticated request is not read.
    app.client.post("/api/projects", json!({"nonsense": 1})).await.problem(401, "unauthorized");
}

pub async fn invalid_fields_are_refused(app: &TestApp) {
    let signup = |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let client = app.client.clone();
        async move { client.post("/api/auth/signup", body).await }
    };
    let long = format!("{}@example.org", "x".repeat(250));
    for email in ["", "me", "me@", "@example.org", "me@exa mple.org", "me@example..org", "a@b@c", &long] {
        signup(email, PASSWORD).await.bad_fields(&["email"]);
    }
    let too_long = PASSWORD.repeat(4);
    for password in ["", "short", "password", "12345678", "me@example.org", "aaaaaaaaaaaaaaa", &too_long] {
        signup("me@example.org", password).await.bad_fields(&["password"]);
    }
    let both = signup("me", "short").await.bad_fields(&["email", "password"]);
    assert_eq!(both["detail"], "Some fields need a look.");

    let me = app.user("me@example.org").await;
    let (longest, too_long) = ("ü".repeat(100), "ü".repeat(101));
    for name in ["", "  ", "a\nb", "nul\u{0}", "safe\u{202E}gpj.exe", "\u{2066}a", &too_long] {
        me.post("/api/projects", json!({"name": name})).await.bad_fields(&["name"]);
    }
    let project = me.post("/api/projects", json!({"name": longest})).await.json(201);
    let path = format!("/api/projects/{}", text(&project["id"]));
    me.patch(&path, json!({"name": ""})).await.bad_fields(&["name"]);
    me.patch(&path, json!({"streamKey": "mine"})).await.bad_fields(&["streamKey"]);

    let path = format!("{path}/destinations");
    let long = format!("rtmp://a.example/{}", "x".repeat(2_048));
    for url in [
        "",
        "a.example",
        "http://a.example/live",
        "javascript:alert(1)",
        "rtmp://",
        "rtmp:///live",
        "rtmp://a:0/x",
        "rtmp://a:70000/x",
        "rtmp://a b/live",
        "rtmp://{domain}/live",
        "file:///etc/passwd",
        &long,
    ] {
        me.post(&path, destination(url, "a-key")).await.bad_fields(&["rtmpUrl"]);
    }
    for key in ["", "  \n", "a\nb", &"x".repeat(1_025)] {
        me.post(&path, destination("rtmp://a.example/live", key)).await.bad_fields(&["streamKey"]);
    }
    let all = json!({"platform": "nope", "name": "", "rtmpUrl": "x", "streamKey": ""});
    me.post(&path, all.clone()).await.bad_fields(&["platform", "name", "rtmpUrl", "streamKey"]);
    let made = me.post(&path, destination("rtmp://a.example/live", "a-key")).await.json(201);
    let one = format!("/api/destinations/{}", text(&made["id"]));
    me.patch(&one, all).await.bad_fields(&["platform", "name", "rtmpUrl", "streamKey"]);
    me.patch(&one, json!({"relay": {"state": "live"}})).await.bad_fields(&["relay"]);
    me.patch(&one, json!({"enabled": "yes"})).await.bad_fields(&["enabled"]);
}

pub async fn ids_paths_and_methods(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let nobodys = "0190b0a0-0000-7000-8000-000000000000";
    for id in [nobodys, "1", "..", "%00", "%ff", "x'%20or%201=1--", &"a".repeat(3_000)] {
        me.get(&format!("/api/projects/{id}")).await.problem(404, "not_found");
        me.get(&format!("/api/projects/{id}/streams")).await.problem(404, "not_found");
        me.patch(&format!("/api/destinations/{id}"), json!({})).await.problem(404, "not_found");
    }
    for path in ["/nothing", "/api", "/api/", "/api/projects/", "/api/nothing", "/hls", "/hls/", "/index.php"] {
        me.get(path).await.problem(404, "not_found");
    }
    let reply = me.send(Call::new("PUT", "/api/projects")).await;
    reply.problem(405, "method_not_allowed");
    let mut allowed: Vec<_> = reply.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    me.send(Call::new("BREW", "/api/auth/login")).await.problem(405, "method_not_allowed");
}
