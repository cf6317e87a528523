//! Security headers on every kind of response.

use gostream_testkit::PATIENCE;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    app::{TestApp, text},
    http::{Call, Client, Reply},
    live::publish,
};

/// The kind of a response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// HTML of the dashboard.
    Page,
    /// Data for programs and the dashboard.
    Api,
    /// Media for players on any site.
    Media,
}

/// Requests as a page of another site would, over HTTP and as over HTTPS through a proxy.
async fn assert_headers(client: &Client, kind: Kind, method: &str, path: &str) -> Reply {
    let ask = || Call::new(method, path).header("origin", "https://evil.example");
    let reply = client.send(ask()).await;
    for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin")] {
        assert_eq!(reply.header(name), value, "{name} of {path}");
    }
    let readable = if kind == Kind::Media { "cross-origin" } else { "same-origin" };
    assert_eq!(reply.header("cross-origin-resource-policy"), readable, "{path}");
    assert_eq!(reply.header("cross-origin-opener-policy"), "same-origin", "{path}");
    assert!(reply.header("permissions-policy").contains("camera=(), "), "{path}");
    let policy = reply.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    assert!(!policy.contains("unsafe-eval") && !policy.contains("script-src 'unsafe"), "{path}: {policy}");
    assert_eq!(policy.starts_with("default-src 'none'; frame"), kind != Kind::Page, "{path}: {policy}");
    assert!(!reply.header("cache-control").is_empty(), "{path}");
    let open_to = if kind == Kind::Media { "*" } else { "" };
    assert_eq!(reply.header("access-control-allow-origin"), open_to, "{path}");
    assert_eq!(reply.header("access-control-allow-credentials"), "", "{path}");
    assert_eq!(reply.header("strict-transport-security"), "", "{path}: this was plain HTTP");
    let secure = client.send(ask().header("x-forwarded-proto", "https")).await;
    assert!(secure.header("strict-transport-security").starts_with("max-age="), "{path}");
    reply
}

pub async fn every_response_has_the_headers_of_its_kind(app: &TestApp) {
    let client = &app.client;
    let page = assert_headers(client, Kind::Page, "GET", "/").await.text();
    let script = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next());
    if let Some(script) = script {
        assert_headers(client, Kind::Api, "GET", script).await;
    }
    assert_headers(client, Kind::Page, "GET", "/api/docs").await;
    for (method, path) in [
        ("GET", "/api/platforms"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/projects"),
        ("DELETE", "/api/projects"),
        ("POST", "/api/auth/login"),
        ("GET", "/api/nothing"),
        ("POST", "/api/streams/on_publish"),
        ("GET", "/healthz"),
    ] {
        assert_headers(client, Kind::Api, method, path).await;
    }

    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("/api/projects/{}/events", text(&project["id"]))).await;
    let encoder = publish(app, &project).await;
    let ready = events.until(|project| project["stream"]["previewReady"] == json!(true));
    timeout(PATIENCE, ready).await.expect("has a preview");
    let (key, playback) = (text(&project["streamKey"]), text(&project["playbackId"]));
    let mut lists = vec![format!("/hls/{key}.m3u8"), format!("/hls/{playback}/index.m3u8")];
    while let Some(list) = lists.pop() {
        let reply = assert_headers(client, Kind::Media, "GET", &list).await;
        assert_eq!(reply.status, 200, "{list}");
        let named = reply.text();
        let beside = |name: &str| format!("{}/{name}", list.rsplit_once('/').expect("is a path").0);
        for name in named.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).take(2) {
            match name.contains(".m3u8") {
                true => lists.push(beside(name)),
                false => assert_eq!(assert_headers(client, Kind::Media, "GET", &beside(name)).await.status, 200),
            }
        }
    }
    assert_headers(client, Kind::Media, "GET", "/hls/unknown.m3u8").await.problem(404, "not_found");
    encoder.stop().await.expect("stops");
}
