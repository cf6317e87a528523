//! An encoder disconnects and returns, after a second or a minute. The engine's clock is advanced instead of waiting.
//!
//! Everything runs in real time on one thread until the encoder is gone. Then the clock is paused and advanced, so that
//! every deadline in between passes as it would.

use std::time::Duration;

use gostream_engine::{EndReason, EngineEvent, status::StreamPhase};
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};

use crate::stage::{Stage, is_monotonic};

fn script(seed: u8) -> Vec<Media> {
    Script { ms: 1_000, seed, ..Script::default() }.write()
}

/// An encoder that has sent one second to one destination.
async fn on_air(stage: &Stage) -> (Platform, gostream_engine::spec::ProjectSpec, Encoder) {
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(1)).await.expect("is taken");
    platform.until_video(26).await;
    stage.until_all_live(&spec).await;
    (platform, spec, encoder)
}

async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn encoder_that_returns_within_the_grace_time_keeps_its_connections() {
    for (seconds, stops_by) in [(1, "reset"), (10, "close"), (59, "reset"), (59, "close")] {
        let stage = Stage::new().await;
        let (platform, spec, encoder) = on_air(&stage).await;
        match stops_by {
            "reset" => encoder.reset().expect("resets"),
            _ => encoder.close().await.expect("closes"),
        }
        stage
            .until(spec.id, "reconnecting", |status| matches!(status.stream.phase, StreamPhase::Reconnecting { .. }))
            .await;
        pass(Duration::from_secs(seconds)).await;

        let mut encoder = Encoder::publish(stage.address, "key").await.expect("returns");
        encoder.send_all(&script(2)).await.expect("is taken");
        let visits = platform.until_video(51).await;
        assert_eq!((visits.len(), platform.connections()), (1, 1), "{seconds} s: no new connection");
        assert!(!visits[0].unpublished && !visits[0].ended, "{seconds} s: held");
        let media = &visits[0].media;
        assert!(is_monotonic(media), "{seconds} s: no time goes back");
        let gap = gap_ms(media);
        let away = seconds as u32 * 1_000;
        assert!((away..away + 5_000).contains(&gap), "{seconds} s: the destination's times advanced by {gap} ms");
        encoder.stop().await.expect("says goodbye");
        platform.until("the goodbye", |visits| visits[0].unpublished && visits[0].ended).await;
    }
}

/// The longest step between two video messages.
fn gap_ms(media: &[Media]) -> u32 {
    let times: Vec<_> = media.iter().filter(|m| m.kind == MediaKind::Video).map(|m| m.timestamp).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[tokio::test]
async fn encoder_that_returns_after_the_grace_time_starts_a_new_stream() {
    let mut stage = Stage::new().await;
    let (platform, spec, encoder) = on_air(&stage).await;
    encoder.reset().expect("resets");
    stage
        .until(spec.id, "reconnecting", |status| matches!(status.stream.phase, StreamPhase::Reconnecting { .. }))
        .await;
    pass(Duration::from_secs(61)).await;
    platform.until("the clean end", |visits| visits[0].unpublished && visits[0].ended).await;
    stage.until_offline(spec.id).await;

    let mut encoder = Encoder::publish(stage.address, "key").await.expect("starts again");
    encoder.send_all(&script(2)).await.expect("is taken");
    let visits = platform.until("the next stream", |visits| visits.len() == 2 && visits[1].media.len() > 30).await;
    assert_eq!(visits[1].media[0].timestamp, 0);
    encoder.stop().await.expect("says goodbye");
    stage.until_offline(spec.id).await;
    stage.events.close();
    let mut ends = Vec::new();
    while let Some(event) = stage.events.recv().await {
        if let EngineEvent::StreamEnded { reason, .. } = event {
            ends.push(reason);
        }
    }
    assert_eq!(ends, [EndReason::EncoderLost, EndReason::EncoderStopped]);
}

/// The encoder's machine lost power: no FIN, no RST, and the old connection stays open on the server.
#[tokio::test]
async fn encoder_takes_over_from_a_dead_connection_at_once() {
    let stage = Stage::new().await;
    let (platform, spec, mut hanging) = on_air(&stage).await;
    let began = tokio::time::Instant::now();
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("takes over");
    encoder.send_all(&script(2)).await.expect("is taken");
    let visits = platform.until_video(51).await;
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    assert_eq!((visits.len(), platform.connections()), (1, 1), "no new connection");
    assert!(is_monotonic(&visits[0].media));

    // Data in the old connection's buffers must be ignored.
    let _ = hanging.send_all(&script(3)).await;
    hanging.closed().await.expect("is closed");
    encoder.send_all(&Script { start: 1_000, ..Script::default() }.frames()).await.expect("is taken");
    let visits = platform.until_video(100).await;
    // The seed is after the length and the NAL header.
    assert!(!visits[0].media.iter().any(|m| m.kind == MediaKind::Video && m.body.get(10) == Some(&3)));
    let status = stage.until(spec.id, "live", |status| status.stream.phase == StreamPhase::Live).await;
    assert_eq!(status.relays[&spec.destinations[0].id].reconnects, 0);
}
