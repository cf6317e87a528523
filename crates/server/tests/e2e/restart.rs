//! A live server is killed.

use std::time::Instant;

use gostream_testkit::{
    clip::Clip,
    platform::{Behaviour, Platform},
};
use serde_json::json;
use tokio::time::{Duration, sleep};

use crate::show::Show;

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_returns_to_every_destination_with_a_correct_history() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let mut show = Show::start(&[]).await;
    let mut platforms = Vec::new();
    for n in 0..3 {
        let platform = Platform::start(Behaviour::default()).await.expect("listens");
        show.destination(&platform.url(), &format!("key-{n}")).await;
        platforms.push(platform);
    }
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    show.until_all_live().await;
    let before = show.status().await["stream"]["id"].clone();
    show.kill_and_restart().await;
    drop(encoder);

    let published = Instant::now();
    let _encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    for platform in &platforms {
        platform.until("the second visit", |visits| visits.len() == 2 && visits[1].media.len() > 3).await;
    }
    println!("from FFmpeg's start to media on every destination: {:?}", published.elapsed());
    show.until_all_live().await;
    assert!(platforms.iter().all(|platform| !platform.visits()[0].unpublished), "a broken connection has no unpublish");

    // The row of the new stream is written after its start.
    let history = loop {
        let page = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
        if page["items"].as_array().is_some_and(|items| items.len() == 2) {
            break page;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let killed = &history["items"][1];
    assert_eq!((&killed["id"], &killed["status"]), (&before, &json!("ended")));
    assert_eq!(killed["endReason"], json!("server_killed"));
    let outcomes = killed["outcomes"].as_array().expect("is a list");
    assert_eq!(outcomes.len(), 3);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome["liveMs"].as_u64() > Some(0) && outcome["sentBytes"].is_null())
    );
    assert_eq!(history["items"][0]["status"], json!("live"));
}
