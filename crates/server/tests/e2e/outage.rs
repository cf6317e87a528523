//! The database fails while streaming: viewers do not notice, and nothing is lost.

use std::time::{Duration, Instant};

use gostream_testkit::{
    PATIENCE,
    clip::Clip,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    postgres::Postgres,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    http::{Client, Reply},
    show::Show,
};

/// Longer than any response may take: a handler times out after 15 s.
const BOUND: Duration = Duration::from_secs(20);
/// The minimum duration of the outage in seconds; by default as long as it takes to see that the stream continues.
const OUTAGE: &str = "TEST_OUTAGE_SECONDS";

/// The response to an account while the database is unavailable: a sentence, a code, and when to retry.
async fn refused(client: &Client, path: &str) -> Reply {
    let asked = Instant::now();
    let reply = client.get(path).await;
    assert!(asked.elapsed() < BOUND, "{path} took {:?}", asked.elapsed());
    let code = if reply.text().contains("\"timeout\"") { "timeout" } else { "database_unavailable" };
    reply.problem(503, code);
    assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    reply
}

/// The number of the newest available segment.
async fn newest_segment(show: &Show) -> u64 {
    let playlist = show.client.get(&format!("/hls/{}.m3u8", show.key)).await;
    let text = playlist.text();
    let number = |tag: &str| text.lines().find_map(|line| line.strip_prefix(tag)?.trim().parse::<u64>().ok());
    number("#EXT-X-MEDIA-SEQUENCE:").unwrap_or_default() + text.matches("#EXTINF").count() as u64
}

/// Waits for progress: new segments for viewers, and new pictures at the platform.
async fn goes_on(show: &Show, platform: &Platform) {
    let (segment, media) = (newest_segment(show).await, messages(platform));
    let waiting = async {
        while newest_segment(show).await < segment + 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the playlist advances");
    platform
        .wait_for("pictures", |visits| visits.iter().map(|visit| visit.media.len()).sum::<usize>() > media + 50)
        .await;
}

fn messages(platform: &Platform) -> usize {
    platform.visits().iter().map(|visit| visit.media.len()).sum()
}

/// Waits until the server is ready again.
async fn heals(show: &Show) {
    let ready = async {
        while show.client.get("/readyz").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("becomes ready again by itself");
    let account = json!({"email": "one@example.org", "password": "quiet lamp under rain"});
    show.client.post("/api/auth/login", account).await.json(200);
}

/// The states of a stream and of one of its relays, in order, once the last state of the stream is `last`.
async fn history(show: &Show, stream: &str, destination: &str, last: &str) -> (Vec<String>, Vec<String>) {
    let path = format!("/api/projects/{}/streams/{stream}", show.project);
    let written = async {
        loop {
            let report = show.client.get(&path).await;
            // The row itself may not be written yet.
            if report.status == 200 {
                let report = report.json(200);
                let of_stream = states(&report, |event| event["relay"].is_null());
                if of_stream.last().is_some_and(|state| state == last) {
                    let of_relay = states(&report, |event| event["relay"]["destinationId"] == destination);
                    return (of_stream, of_relay);
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("the history is complete")
}

fn states(report: &Value, of: impl Fn(&Value) -> bool) -> Vec<String> {
    let events = report["events"].as_array().expect("is a list").iter().filter(|event| of(event));
    events.filter_map(|event| event["state"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outage_interrupts_no_stream_and_loses_no_history() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let postgres = Postgres::start().expect("starts");
    let mut show = Show::start(&[("GOSTREAM_DATABASE_URL", &postgres.database())]).await;
    let steady = Platform::start(Behaviour::default()).await.expect("listens");
    let shaky = Platform::start(Behaviour::default()).await.expect("listens");
    show.destination(&steady.url(), "steady").await;
    let destination = show.destination(&shaky.url(), "shaky").await;
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    show.until_all_live().await;
    let stream = show.status().await["stream"]["id"].as_str().expect("is live").to_owned();

    let away = Instant::now();
    postgres.stop().expect("stops");
    goes_on(&show, &steady).await;
    let projects = format!("/api/projects/{}", show.project);
    let (readiness, login) = tokio::join!(refused(&show.client, "/readyz"), refused(&show.client, &projects));
    assert!(readiness.text().contains("database") && login.text().contains("database"));
    assert_eq!(show.client.get("/healthz").await.status, 200, "it needs no restart");

    // A platform restarts, and so does the encoder: both belong into the history.
    let address = shaky.address();
    shaky.stop().await;
    let back = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
    back.wait_for("the relay", |visits| visits.iter().any(|visit| visit.media.len() > 3)).await;
    let before = messages(&steady);
    drop(encoder);
    // Media in transit arrives; then nothing follows until the encoder returns.
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    steady
        .wait_for("the encoder's return", |visits| visits.iter().map(|v| v.media.len()).sum::<usize>() > before + 100)
        .await;
    let stranger = Encoder::publish(show.rtmp, "a-key-that-nobody-has").await;
    assert!(stranger.is_err(), "a stream that was not live must wait for the database");
    goes_on(&show, &steady).await;
    let least = std::env::var(OUTAGE)
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    while away.elapsed() < least {
        goes_on(&show, &steady).await;
    }
    postgres.begin().expect("starts again");
    println!("the database was unavailable for {:?}", away.elapsed());

    heals(&show).await;
    show.until_all_live().await;
    assert_eq!(show.status().await["stream"]["id"], json!(stream), "it is the same stream");
    drop(encoder);
    show.until("held", |project| project["status"] == "reconnecting").await;
    show.client.post(&format!("{projects}/stream/end"), json!({})).await.json(200);
    let (of_stream, of_relay) = history(&show, &stream, &destination, "ended").await;
    assert_eq!(of_stream, ["live", "reconnecting", "live", "reconnecting", "ended"]);
    let lives = of_relay.iter().filter(|state| *state == "live").count();
    assert!(lives == 2 && of_relay.iter().any(|state| state == "backoff"), "{of_relay:?}");
    assert_eq!(steady.visits().len(), 1, "the steady platform had one connection throughout");
    show.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_in_bounded_time_while_the_database_hangs() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let postgres = Postgres::start().expect("starts");
    let mut show = Show::start(&[("GOSTREAM_DATABASE_URL", &postgres.database())]).await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    show.destination(&platform.url(), "steady").await;
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    show.until_all_live().await;
    let stream = show.status().await["stream"]["id"].as_str().expect("is live").to_owned();

    let frozen = postgres.freeze().expect("freezes");
    let projects = format!("/api/projects/{}", show.project);
    // More requests than the pool has connections: none may be held for ever, and the queued ones get a response as
    // well.
    let crowd = (0..30).map(|_| refused(&show.client, &projects));
    let ((), readiness, _) =
        tokio::join!(goes_on(&show, &platform), refused(&show.client, "/readyz"), futures::future::join_all(crowd),);
    assert!(readiness.text().contains("database"));
    drop(encoder);
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    goes_on(&show, &platform).await;
    drop(frozen);

    heals(&show).await;
    show.until_all_live().await;
    drop(encoder);
    show.until("held", |project| project["status"] == "reconnecting").await;
    show.client.post(&format!("{projects}/stream/end"), json!({})).await.json(200);
    let destination = show.status().await["destinations"][0]["id"].as_str().expect("has an id").to_owned();
    let (of_stream, _) = history(&show, &stream, &destination, "ended").await;
    assert_eq!(of_stream, ["live", "reconnecting", "live", "reconnecting", "ended"]);
    // The server stops when asked, whatever the database does.
    let frozen = postgres.freeze().expect("freezes");
    let asked = show.client.clone();
    let pending = tokio::spawn(async move { asked.get("/api/projects").await.status });
    show.terminate();
    assert!(show.stopped().await.success());
    pending.abort();
    drop(frozen);
}
