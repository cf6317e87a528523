//! Encoders and lines that are too slow, and what is said of them.

use gostream_testkit::{encoder::Encoder, script::Script};

use crate::stage::Stage;

/// What is wrong with the stream, by the codes of its notices.
fn codes(status: &gostream_engine::status::ProjectStatus) -> Vec<&'static str> {
    status.stream.notices.iter().map(|notice| notice.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_at_half_speed_is_named_until_it_keeps_up() {
    let stage = Stage::new().await;
    let spec = stage.project("key", &[]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 60_000, ..Script::default() }.write();
    let sending = tokio::spawn(async move {
        // 12 s of media in 24, and then as it should be.
        let turn = all.iter().position(|media| media.timestamp >= 12_000).expect("is longer");
        encoder.send_paced(&all[..turn], 0.5).await?;
        encoder.send_paced(&all[turn..], 1.0).await
    });
    let status = stage.until(spec.id, "slow", |status| codes(status) == ["slow_encoder"]).await;
    let message = &status.stream.notices[0].message;
    let percent = status.stream.speed_percent.expect("is known");
    assert!((45..=55).contains(&percent), "{percent} %");
    assert!(message.starts_with(&format!("Your encoder or its line manages {percent} % of real time")), "{message}");
    let video = status.stream.video.as_ref().expect("comes");
    assert!(video.fps.is_some_and(|fps| (11.0..14.0).contains(&fps)), "by the wall clock: {video:?}");
    let status = stage.until(spec.id, "as fast as it should be", |status| codes(status).is_empty()).await;
    assert!(status.stream.speed_percent >= Some(97), "{:?}", status.stream.speed_percent);
    sending.abort();
}
