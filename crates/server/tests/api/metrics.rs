//! Metrics of a stream exist while it runs, and not afterwards.

use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::app::{TestApp, destination, text};

/// The value of the series with this name and these labels.
fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = page.lines().filter(|line| line.starts_with(name));
    let line = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Scrapes until the page satisfies `wanted`.
async fn scrape(app: &TestApp, wanted: impl Fn(&str) -> bool) -> String {
    let scraping = async {
        loop {
            let page = app.metrics().get("/metrics").await.text();
            if wanted(&page) {
                return page;
            }
        }
    };
    timeout(PATIENCE, scraping).await.expect("the scrape says so")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_of_a_stream_begin_and_end_with_it() {
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let (id, key) = (text(&project["id"]), text(&project["streamKey"]));
    let platform = Platform::start(Behaviour::default()).await.unwrap();
    let mut wanted = destination(&platform.url(), "key");
    wanted["enabled"] = json!(true);
    let path = format!("/api/projects/{id}");
    me.post(&format!("{path}/destinations"), wanted).await.json(201);
    let mut events = me.events(&format!("{path}/events")).await;
    let mut encoder = Encoder::publish(app.rtmp(), key).await.unwrap();
    encoder.send_all(&Script { ms: 8_000, ..Script::default() }.write()).await.unwrap();
    events.until(|project| project["destinations"][0]["relay"]["state"] == "live").await;

    let of_project = format!("project=\"{id}\"");
    let held = |page: &str| value(page, "gostream_stream_ring_bytes{", &[&of_project]).unwrap_or_default();
    scrape(&app, |page| held(page) > 100_000.0).await;
    // A lost connection is counted with its cause.
    platform.stop().await;
    let reason = ["code=\"connection_lost\"", "leg=\"primary\"", &of_project];
    scrape(&app, |page| value(page, "gostream_relay_reconnects_total{", &reason) == Some(1.0)).await;

    let playback = text(&project["playbackId"]);
    let media = format!("/hls/{playback}/media.m3u8");
    for (path, kind) in [
        (format!("/hls/{key}.m3u8"), "playlist"),
        (format!("/hls/{playback}/index.m3u8"), "playlist"),
        (media.clone(), "playlist"),
        (format!("{media}?_HLS_msn=0"), "blocking_playlist"),
        (format!("/hls/{playback}/init-0.mp4"), "init"),
        (format!("/hls/{playback}/0.m4s"), "segment"),
        (format!("/hls/{playback}/0.0.m4s"), "part"),
        (format!("/hls/{playback}/of-none.m4s"), "other"),
    ] {
        let status = format!("status=\"{}\"", app.client.get(&path).await.status);
        let labels = [format!("kind=\"{kind}\""), status];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        let page = app.metrics().get("/metrics").await.text();
        assert!(value(&page, "gostream_hls_requests_total{", &labels) >= Some(1.0), "{path} {labels:?}: {page}");
    }

    // The congestion control of media connections, from the kernel.
    let algorithm = gostream_net::congestion_control().expect("the kernel says it");
    let label = format!("algorithm=\"{algorithm}\"");
    scrape(&app, |page| value(page, "gostream_tcp_congestion{", &[&label]) == Some(1.0)).await;

    encoder.stop().await.unwrap();
    events.until(|project| project["stream"] == Value::Null).await;
    let page = scrape(&app, |page| value(page, "gostream_streams_live", &[]) == Some(0.0)).await;
    assert!(!page.contains(id), "{page}");
    app.stop().await;
}
