//! Two servers on one PostgreSQL: either of them accepts a request, and the one that owns the stream executes it.

use std::time::{Duration, Instant};

use gostream_testkit::{
    PATIENCE,
    clip::Clip,
    platform::{Behaviour, Platform},
    postgres::Postgres,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::show::{Show, free_addresses};

/// A request to the other server takes effect within this time.
const PASSED_ON_MAX: Duration = Duration::from_secs(6);

/// Far below the 5 s after which a server looks at rows by itself. Another server on the same database does it in milliseconds.
const NOTIFIED_MAX: Duration = Duration::from_secs(1);
/// The quickest of them is within this; the others as well, on a machine that has time.
const NOTIFIED_BEST: Duration = Duration::from_millis(200);
/// Changes that are timed. By polling alone, all within [`NOTIFIED_MAX`] happens once in 78,000 times.
const CHANGES: usize = 7;
const KILL_LISTENERS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gostream-listener'";

/// Two servers; the first will own the stream.
async fn two_servers(postgres: &Postgres) -> (Show, Show) {
    let owner = Show::start(&[("GOSTREAM_DATABASE_URL", &postgres.database())]).await;
    let other = owner.second_server().await;
    (owner, other)
}

/// Time of the next attempt of the first destination, while it waits.
fn next_attempt(project: &Value) -> Option<OffsetDateTime> {
    let relay = &project["destinations"][0]["relay"];
    let at = relay["nextAttemptAt"].as_str().filter(|_| relay["state"] == "backoff")?;
    Some(OffsetDateTime::parse(at, &Rfc3339).expect("is a time"))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_ends_a_stream_that_another_one_owns() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let postgres = Postgres::start().expect("starts");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let (owner, other) = two_servers(&postgres).await;
    owner.destination(&platform.url(), "key").await;
    let end = format!("/api/projects/{}/stream/end", owner.project);
    let answer = other.client.post(&end, json!({})).await.json(200);
    assert_eq!(answer["status"], "offline", "it is live on no server: {answer:#}");

    let encoder = owner.publish(&clip.path, &["-stream_loop", "-1"]);
    owner.until_all_live().await;
    other.until("live", |project| project["status"] == "live").await;
    let asked = Instant::now();
    other.client.post(&end, json!({})).await.json(200);
    let (ended, _) = encoder.wait(PATIENCE).await.expect("is closed");
    let took = asked.elapsed();
    println!("from stream/end at the other server to the end of the encoder: {took:?}");
    assert!(!ended.success(), "FFmpeg sees that the server closed");
    assert!(took < PASSED_ON_MAX, "{took:?}");
    platform
        .until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished && visit.ended))
        .await;
    other.until("offline", |project| project["status"] == "offline").await;
    for server in [&owner, &other] {
        let history = server.client.get(&format!("/api/projects/{}/streams", server.project)).await.json(200);
        assert_eq!(history["items"][0]["endReason"], "ended_by_owner", "{history:#}");
    }
    let audit = other.client.get("/api/auth/audit").await.json(200);
    let lines = audit.as_array().expect("is a list").iter().filter(|line| line["action"] == "stream_ended");
    assert_eq!(lines.count(), 2, "each request is audited once: {audit:#}");

    // A new stream.
    let _encoder = owner.publish(&clip.path, &["-stream_loop", "-1"]);
    platform.until("a second visit", |visits| visits.len() == 2 && visits[1].media.len() > 200).await;
    assert_eq!(owner.status().await["status"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_retries_a_destination_of_another_one() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let postgres = Postgres::start().expect("starts");
    let (owner, other) = two_servers(&postgres).await;
    let [address, _] = free_addresses();
    let destination = owner.destination(&format!("rtmp://{address}/live"), "key").await;
    let _encoder = owner.publish(&clip.path, &["-stream_loop", "-1"]);
    let is_long = |at: OffsetDateTime| at - OffsetDateTime::now_utc() > PASSED_ON_MAX;
    let waiting = owner.until("in a long pause", |project| next_attempt(project).is_some_and(is_long)).await;
    let due = next_attempt(&waiting).expect("waits");

    let platform = Platform::start_at(address, Behaviour::default()).await.expect("listens");
    other.relay(&destination, "retry").await;
    platform.until("a visit", |visits| !visits.is_empty()).await;
    let early = due - OffsetDateTime::now_utc();
    println!("before its pause was over: {early}");
    assert!(early.is_positive(), "{early}");
    owner.until_all_live().await;
}

/// How long the owner of a stream takes to follow a destination that is switched at the other server.
async fn switched(other: &Show, platform: &Platform, destination: &str, on: bool) -> Duration {
    let visits = platform.visits().len();
    let asked = Instant::now();
    other.relay(destination, if on { "start" } else { "stop" }).await;
    if on {
        platform.until("another visit", |all| all.len() > visits).await;
    } else {
        platform.until("the end of the visit", |all| all.iter().all(|visit| visit.ended)).await;
    }
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_one_server_reaches_the_other_at_once_also_after_the_listening_connection_was_lost() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let postgres = Postgres::start().expect("starts");
    let url = postgres.database();
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let owner = Show::start(&[("GOSTREAM_DATABASE_URL", &url)]).await;
    let other = owner.second_server().await;
    let destination = owner.destination(&platform.url(), "key").await;
    let _encoder = owner.publish(&clip.path, &["-stream_loop", "-1"]);
    owner.until_all_live().await;

    let mut took = Vec::new();
    for n in 0..CHANGES {
        took.push(switched(&other, &platform, &destination, n % 2 == 1).await);
    }
    println!("from a change at the other server to the owner's relay: {took:?}");
    assert!(took.iter().all(|took| *took < NOTIFIED_MAX) && took.iter().min() < Some(&NOTIFIED_BEST), "{took:?}");

    // The last change was the relay's stop.
    postgres.sql(&url, KILL_LISTENERS).expect("ends them");
    let mut on = true;
    let recovered = async {
        let mut quick = 0;
        while quick < CHANGES {
            let took = switched(&other, &platform, &destination, on).await;
            quick = if took < NOTIFIED_MAX { quick + 1 } else { 0 };
            on = !on;
        }
    };
    tokio::time::timeout(PATIENCE, recovered).await.expect("listens again");
}
