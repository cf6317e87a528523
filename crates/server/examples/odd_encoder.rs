//! An encoder that sends one of the streams of `tests/odd_streams` in real time, for the browser tests
//! (`web/e2e/odd.mjs`): `odd_encoder 127.0.0.1:1935 STREAM-KEY c8`. It prints `sending` when it starts, and unpublishes
//! at the end.

#[path = "../tests/odd_streams/bend.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod bend;
#[path = "../tests/odd_streams/clips.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod clips;
#[path = "../tests/odd_streams/streams.rs"]
mod streams;

use std::time::Duration;

use anyhow::{Context as _, bail};
use gostream_testkit::encoder::Encoder;
use tokio::time::{Instant, sleep_until};

use crate::bend::Schedule;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, key, name] = arguments.as_slice() else { bail!("usage: odd_encoder ADDRESS STREAM-KEY STREAM") };
    let Schedule(items) = stream(name).with_context(|| format!("there is no stream {name}"))?;
    let mut encoder = Encoder::publish(server.parse()?, key).await?;
    println!("sending");
    let started = Instant::now();
    for item in &items {
        sleep_until(started + Duration::from_secs_f64(item.at_ms / 1_000.0)).await;
        encoder.send(&item.media).await?;
        encoder.read_replies().await?;
    }
    encoder.stop().await
}

fn stream(name: &str) -> Option<Schedule> {
    Some(match name {
        "c0" => streams::ordinary(),
        "c1c" => streams::pictures_leave_late(1_200),
        "c8" => streams::empty_nal_units(),
        "c14" => streams::program_config_element(),
        "c18" => streams::presentation_times(),
        "c23b" => streams::mp3(),
        "c24" => streams::sound_pauses(),
        "c27" => streams::interlaced(),
        "c29" => streams::turned_twice(),
        _ => return None,
    })
}
