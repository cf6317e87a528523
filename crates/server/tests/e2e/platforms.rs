//! FFmpeg in; nginx-rtmp and a TLS platform out: every message arrives unchanged.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    PATIENCE,
    certificate::Certificate,
    clip::{AAC, Clip, H264, Recipe, bodies},
    nginx::Nginx,
    platform::{Behaviour, Platform},
    process::text,
};
use tempfile::TempDir;

use crate::show::Show;

/// The frames without codec headers, which are compared separately, since servers may store and repeat them.
fn frames(media: &[Media], kind: MediaKind) -> Vec<Bytes> {
    bodies(media, kind).into_iter().filter(|body| body.get(1) != Some(&0)).collect()
}

/// Asserts that every frame of the clip from the first received one on arrived unchanged. Returns how many at the start
/// are missing.
fn assert_whole(name: &str, received: &[Media], clip: &Clip) -> usize {
    let mut missing = 0;
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let (received, sent) = (frames(received, kind), frames(&clip.tags, kind));
        let Some(first) = received.first() else {
            assert!(sent.is_empty(), "{name}: no {kind:?} came");
            continue;
        };
        let start = sent.iter().position(|body| body == first).unwrap_or_else(|| panic!("{name}: {kind:?} is changed"));
        let differs = received.iter().zip(&sent[start..]).position(|(received, sent)| received != sent);
        assert_eq!(
            (received.len(), differs),
            (sent.len() - start, None),
            "{name}: {kind:?} messages, first difference"
        );
        missing = missing.max(start);
    }
    missing
}

fn assert_monotonic(name: &str, media: &[Media]) {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let times: Vec<_> = media.iter().filter(|media| media.kind == kind).map(|media| media.timestamp).collect();
        assert!(times.is_sorted(), "{name}: {kind:?} times never go back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_reaches_six_nginx_streams_and_an_rtmps_platform_byte_for_byte() {
    let clip = Clip::usual(60).expect("FFmpeg makes it");
    let nginx = Nginx::start("").await.expect("starts");
    let certificate = Certificate::for_names(&["localhost"]).expect("is made");
    let trusted = TempDir::new().expect("is made");
    let pem = trusted.path().join("ca.pem");
    std::fs::write(&pem, &certificate.pem).expect("is written");
    let tls = Some(certificate.server(rustls::ALL_VERSIONS).expect("works"));
    let secure = Platform::start(Behaviour { tls, ..Behaviour::default() }).await.expect("listens");

    let show = Show::start(&[("SSL_CERT_FILE", text(&pem))]).await;
    let names = ["one", "two", "three", "four", "five", "six"];
    let mut ids = Vec::new();
    for name in names {
        ids.push(show.destination(&nginx.url(), name).await);
    }
    show.destination(&secure.url(), "secure?a=b&c:d").await;
    let ffmpeg = show.publish(&clip.path, &[]);
    show.until_all_live().await;

    // One is stopped in the middle; it stops within a second.
    show.until("well under way", |project| project["destinations"][0]["relay"]["sentBytes"].as_u64() > Some(1_500_000))
        .await;
    let asked = Instant::now();
    show.relay(&ids[5], "stop").await;
    show.until("off", |project| project["destinations"][5]["relay"]["state"] == "off").await;
    println!("from stop to off: {:?}", asked.elapsed());
    let status = show.status().await;
    assert_eq!(status["stream"]["video"]["codec"], "h264");
    assert_eq!((&status["stream"]["video"]["width"], &status["stream"]["video"]["height"]), (&640.into(), &360.into()));
    assert_eq!(status["stream"]["video"]["keyframeSeconds"], 1.0);

    let (ended, said) = ffmpeg.wait(Duration::from_secs(90)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = secure.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    show.until("offline", |project| project["status"] == "offline").await;
    let mut recorded = nginx.recorded_all(&names).await.expect("are recorded");
    let stopped = recorded.pop().expect("six");
    for (name, media) in names.iter().zip(&recorded) {
        assert_whole(name, media, &clip);
        assert_monotonic(name, media);
    }
    assert_eq!(visits.len(), 1);
    assert_whole("secure", &visits[0].media, &clip);
    assert_monotonic("secure", &visits[0].media);
    let (whole, half) = (frames(&clip.tags, MediaKind::Video).len(), frames(&stopped, MediaKind::Video).len());
    assert!(half > whole / 10 && half < whole, "the stopped one has {half} of {whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_of_every_format_reach_a_destination_unchanged() {
    let no_video = Recipe { seconds: 6, video: None, audio: Some(AAC) };
    let no_audio = Recipe { seconds: 6, video: Some(H264), audio: None };
    for (name, recipe) in [("no video", no_video), ("no audio", no_audio)] {
        let clip = Clip::make(recipe).expect("FFmpeg makes it");
        let platform = Platform::start(Behaviour::default()).await.expect("listens");
        let show = Show::start(&[]).await;
        show.destination(&platform.url(), "key").await;
        let (ended, said) = show.publish(&clip.path, &[]).wait(Duration::from_secs(30)).await.expect("ends");
        assert!(ended.success(), "{name}: {said}");
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        let missing = assert_whole(name, &visits[0].media, &clip);
        assert_eq!(missing, 0, "{name}: from the first frame on");
        assert_monotonic(name, &visits[0].media);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_started_on_a_live_stream_joins_at_once() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    let id = show.destination(&platform.url(), "key").await;
    show.relay(&id, "stop").await;
    let ffmpeg = show.publish(&clip.path, &[]);
    show.until("live", |project| {
        project["status"] == "live" && project["stream"]["video"]["keyframeSeconds"].as_f64() == Some(1.0)
    })
    .await;
    assert_eq!(platform.connections(), 0, "a stopped relay does not connect");
    let asked = Instant::now();
    show.relay(&id, "start").await;
    let visits = platform
        .until("a keyframe", |visits| {
            visits.iter().any(|visit| visit.media.iter().any(|m| m.body.starts_with(&[0x17, 1])))
        })
        .await;
    println!("from relay/start to the first keyframe: {:?}", asked.elapsed());
    let first = visits[0].media.iter().find(|media| media.body.starts_with(&[0x17, 1])).expect("is there");
    assert_eq!(first.timestamp, 0);
    drop(ffmpeg);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_platform_is_reconnected() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let address = platform.address();
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let ffmpeg = show.publish(&clip.path, &[]);
    platform.until_video(10).await;
    platform.stop().await;
    show.until("backing off", |project| project["destinations"][0]["relay"]["state"] == "backoff").await;
    let again = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
    again.until_video(10).await;
    let status = show.until("live again", |project| project["destinations"][0]["relay"]["state"] == "live").await;
    assert!(status["destinations"][0]["relay"]["reconnects"].as_u64() >= Some(1));
    assert_eq!(status["status"], "live", "the ingest is not affected");
    drop(ffmpeg);
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_tests_a_destination_and_ends_a_stream() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let nginx = Nginx::start("").await.expect("starts");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    let id = show.destination(&nginx.url(), "key").await;
    let test = show.client.post(&format!("/api/destinations/{id}/test"), serde_json::json!({})).await.json(200);
    assert_eq!((&test["ok"], test["steps"].as_array().map(Vec::len)), (&true.into(), Some(5)), "{test:#}");
    let nowhere = show.destination("rtmp://127.0.0.1:1/live", "key").await;
    let test = show
        .client
        .post(&format!("/api/destinations/{nowhere}/test"), serde_json::json!({}))
        .await
        .json(200);
    assert_eq!((&test["ok"], &test["steps"][1]["error"]["code"]), (&false.into(), &"connection_refused".into()));

    show.destination(&platform.url(), "key").await;
    let ffmpeg = show.publish(&clip.path, &[]);
    platform.until_video(10).await;
    let end = format!("/api/projects/{}/stream/end", show.project);
    show.client.post(&end, serde_json::json!({})).await.json(200);
    platform
        .until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished && visit.ended))
        .await;
    let (ended, _) = ffmpeg.wait(PATIENCE).await.expect("is closed");
    assert!(!ended.success(), "FFmpeg sees that the server closed");
    let project = show.until("offline", |project| project["status"] == "offline").await;
    let history = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
    assert_eq!(history["items"][0]["endReason"], "ended_by_owner", "{project:#}");
}
