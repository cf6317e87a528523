//! Everything besides the API's objects: health, pages, headers, metrics, HTTPS, and shutdown.

use std::{fs, sync::Arc};

use gostream_testkit::certificate::Certificate;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    app::{TestApp, text},
    http::Call,
};

pub async fn health_pages_and_headers(app: &TestApp) {
    for path in ["/healthz", "/readyz"] {
        let reply = app.client.get(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    }
    for (path, part) in [("/", "GoStream"), ("/api/docs", "/api/projects/{id}/streams")] {
        let reply = app.client.get(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(reply.text().contains(part), "{path}");
        assert!(reply.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
    let reply = app.client.get("/api/platforms").await;
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin"), ("cache-control", "no-store")]
    {
        assert_eq!(reply.header(name), value);
    }
    assert!(!reply.header("x-request-id").is_empty());
    let platforms = reply.json(200);
    let twitch = platforms.as_array().unwrap().iter().find(|platform| platform["id"] == "twitch").unwrap();
    assert_eq!((text(&twitch["name"]), &twitch["limits"]["videoKbps"]), ("Twitch", &json!(6_000)));
    assert_eq!(twitch["servers"][0]["url"], "rtmp://live.twitch.tv/app");
    assert!(text(&twitch["keyUrl"]).starts_with("https://"));

    let known = app.client.send(Call::new("GET", "/healthz").header("x-request-id", "abc-123")).await;
    assert_eq!(known.header("x-request-id"), "abc-123");
    let odd = app.client.send(Call::new("GET", "/healthz").header("x-request-id", "<script>")).await;
    assert_ne!(odd.header("x-request-id"), "<script>");
    let packed = app.client.send(Call::new("GET", "/api/openapi.json").header("accept-encoding", "gzip")).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
}

pub async fn metrics_count_by_route(app: &TestApp) {
    let key = "11111111-2222-4333-8444-555555555555";
    app.client.get(&format!("/hls/{key}.m3u8")).await.problem(404, "not_found");
    app.client.get(&format!("/{key}")).await.problem(404, "not_found");
    let reply = app.metrics().get("/metrics").await;
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    let page = reply.text();
    for line in [
        "gostream_http_requests_total{method=\"GET\",route=\"/hls/{file}\",status=\"404\"} 1",
        "gostream_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "gostream_http_request_duration_seconds_count{method=\"GET\",route=\"/hls/{file}\"} 1",
        "gostream_hls_requests_total{kind=\"playlist\",status=\"404\"} 1",
        "gostream_streams_live 0",
        "gostream_relays{state=\"live\"} 0",
        "# EOF",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(!page.contains(key), "paths carry keys and stay out");
}

#[tokio::test]
async fn https_serves_and_marks_the_cookie() {
    let files = tempfile::TempDir::new().unwrap();
    let certificate = Certificate::for_names(&["localhost"]).unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    fs::write(&cert, &certificate.pem).unwrap();
    fs::write(&key, &certificate.key_pem).unwrap();
    let app = TestApp::start(&[("tls.cert", cert.to_str().unwrap()), ("tls.key", key.to_str().unwrap())]).await;

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(app.client.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let body = json!({"email": "me@example.org", "password": crate::app::PASSWORD}).to_string();
    let request = format!(
        "POST /api/auth/signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("set-cookie: __Host-gostream_session="), "{answer}");
    assert!(answer.contains("Secure") && answer.contains("strict-transport-security: max-age="), "{answer}");
    app.stop().await;
}

#[tokio::test]
async fn shutdown_closes_events_and_does_not_wait_for_idle_connections() {
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("/api/projects/{}/events", text(&project["id"]))).await;
    events.next().await.expect("a snapshot");
    let _idle = TcpStream::connect(app.client.address).await.unwrap();
    let began = std::time::Instant::now();
    app.stop().await;
    events.ended().await;
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
}
