//! The ingest side: admission, takeover, disconnects, unpublish, players.

use std::time::Duration;

use gostream_engine::{EndReason, EngineConfig, EngineEvent, status::StreamPhase};
use gostream_proto::{
    flv::{AudioTag, Content, VideoTag},
    rtmp::{
        client::Event,
        media::{Media, MediaKind},
    },
    track::{AudioCodec, VideoCodec},
};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};

use crate::stage::{Stage, assert_same, bodies, config, is_monotonic};

fn script(ms: u32, seed: u8) -> Script {
    Script { ms, seed, ..Script::default() }
}

async fn platform() -> Platform {
    Platform::start(Behaviour::default()).await.expect("listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_key_is_denied_and_closed() {
    let stage = Stage::new().await;
    stage.project("key", &[]);
    for wrong in ["", " ", "other", "KEY", "k ey", "key/"] {
        let outcome = Encoder::publish(stage.address, wrong).await;
        if wrong == "key/" {
            assert!(outcome.is_ok(), "a trailing slash is not part of the key");
            continue;
        }
        assert_eq!(outcome.expect_err("is refused").to_string(), "NetStream.Publish.Denied", "{wrong}");
    }
    assert_eq!(
        Encoder::play(stage.address, "other").await.expect_err("is refused").to_string(),
        "NetStream.Play.Failed"
    );
}

/// Users copy keys together with the following line break.
#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_a_key_is_ignored() {
    let stage = Stage::new().await;
    stage.project("key", &[]);
    for name in ["key ", " key", "\tkey\r\n"] {
        let mut encoder = Encoder::publish(stage.address, name).await.expect("is admitted");
        encoder.send_all(&script(1_000, 1).write()).await.expect("is taken");
        let mut player = Encoder::play(stage.address, name).await.expect("plays");
        player.media().await.expect("comes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_publish_takes_over_without_interrupting_destinations() {
    let stage = Stage::new().await;
    let platform = platform().await;
    let spec = stage.project("key", &[&platform]);
    let mut first = Encoder::publish(stage.address, "key").await.expect("is admitted");
    first.send_all(&script(1_000, 1).write()).await.expect("is taken");
    platform.until_video(26).await;
    let mut second = Encoder::publish(stage.address, "key").await.expect("takes over");
    first.closed().await.expect("the first connection is closed");
    second.send_all(&script(1_000, 2).write()).await.expect("is taken");
    let visits = platform.until_video(51).await;
    assert_eq!(visits.len(), 1, "one connection throughout");
    let media = &visits[0].media;
    assert!(is_monotonic(media));
    let headers = |kind, first_byte: u8| {
        media.iter().filter(|m| m.kind == kind && m.body[0] == first_byte && m.body[1] == 0).count()
    };
    assert_eq!((headers(MediaKind::Video, 0x17), headers(MediaKind::Audio, 0xAF)), (1, 1), "headers are not repeated");
    second.stop().await.expect("says goodbye");
    stage.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_stay_connected_while_the_encoder_reconnects() {
    let mut stage = Stage::new().await;
    let platform = platform().await;
    let spec = stage.project("key", &[&platform]);
    for (seed, leave) in [(1, "reset"), (2, "close"), (3, "stay")] {
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        encoder.send_all(&script(1_000, seed).write()).await.expect("is taken");
        platform.until_video(1 + 25 * usize::from(seed)).await;
        match leave {
            "reset" => encoder.reset().expect("resets"),
            "close" => encoder.close().await.expect("closes"),
            _ => encoder.stop().await.expect("says goodbye"),
        }
        if leave != "stay" {
            let status = stage
                .until(spec.id, "reconnecting", |status| {
                    matches!(status.stream.phase, StreamPhase::Reconnecting { .. })
                })
                .await;
            assert_eq!(status.relays.len(), 1);
        }
    }
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!(visits.len(), 1, "one connection throughout");
    assert!(is_monotonic(&visits[0].media));
    stage.until_offline(spec.id).await;

    stage.events.close();
    let mut ends = 0;
    while let Some(event) = stage.events.recv().await {
        if let EngineEvent::StreamEnded { reason, .. } = event {
            assert_eq!(reason, EndReason::EncoderStopped);
            ends += 1;
        }
    }
    assert_eq!(ends, 1, "one stream throughout");
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_end_cleanly_if_the_encoder_does_not_return() {
    let stage = Stage::with(EngineConfig { reconnect_grace: Duration::from_millis(300), ..config() }).await;
    let platform = platform().await;
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(1_000, 1).write()).await.expect("is taken");
    platform.until_video(26).await;
    encoder.reset().expect("resets");
    platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    stage.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_with_another_format_reconnects_destinations() {
    let stage = Stage::new().await;
    let platform = platform().await;
    stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(1_000, 1).write()).await.expect("is taken");
    platform.until_video(26).await;
    encoder.reset().expect("resets");
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("returns");
    let mut changed = script(1_000, 2).write();
    for media in changed.iter_mut().filter(|media| media.kind == MediaKind::Video && media.body[1] == 0) {
        let mut header = media.body.to_vec();
        // The level in the record, and in the parameter set.
        (header[8], header[16]) = (0x1F, 0x1F);
        media.body = header.into();
    }
    encoder.send_all(&changed).await.expect("is taken");
    let visits = platform.until("the second visit", |visits| visits.len() == 2 && visits[1].media.len() > 20).await;
    assert!(!visits[0].unpublished, "the stream continues");
    assert_eq!((visits[1].media[1].body[8], visits[1].media[1].timestamp), (0x1F, 0));
    encoder.stop().await.expect("says goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn player_gets_headers_then_a_keyframe_then_everything() {
    let stage = Stage::new().await;
    let spec = stage.project("key", &[]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = script(2_000, 1).write();
    encoder.send_all(&all).await.expect("is taken");
    stage.until(spec.id, "received", |status| status.stream.received_bytes > 100_000).await;
    let mut player = Encoder::play(stage.address, "key").await.expect("plays");
    let mut media = Vec::new();
    for _ in 0..4 {
        media.push(player.media().await.expect("comes"));
    }
    let kinds: Vec<_> = media.iter().map(|media| media.kind).collect();
    assert_eq!(kinds, [MediaKind::Metadata, MediaKind::Video, MediaKind::Audio, MediaKind::Video]);
    assert_eq!(media[0].body, all[0].body, "metadata has no wrapper");
    assert_eq!((media[3].body[0], media[3].timestamp), (0x17, 0));
    encoder.stop().await.expect("says goodbye");
    loop {
        match player.event().await.expect("the server sends an event") {
            Event::Media(more) => media.push(more),
            Event::Ended => break,
            other => panic!("{other:?}"),
        }
    }
    let [_, sent] = bodies(&all);
    let [_, received] = bodies(&media);
    assert!(received[1..] == sent[sent.len() - received.len() + 1..], "nothing is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_track_combinations_reach_a_destination() {
    for (video, audio) in [(true, false), (false, true)] {
        let stage = Stage::new().await;
        let platform = platform().await;
        let spec = stage.project("key", &[&platform]);
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        let all = Script { video, audio, ms: 3_000, ..Script::default() }.write();
        encoder.send_all(&all).await.expect("is taken");
        stage.until_all_live(&spec).await;
        encoder.stop().await.expect("says goodbye");
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        let media = &visits[0].media;
        assert!(is_monotonic(media));
        let kind = if video { MediaKind::Video } else { MediaKind::Audio };
        let tail = |media: &[Media]| {
            media.iter().rev().filter(|m| m.kind == kind).take(20).map(|m| m.body.clone()).collect::<Vec<_>>()
        };
        assert!(tail(media) == tail(&all), "the end has arrived");
    }
}

/// HEVC or AV1 with Opus, in Enhanced RTMP tags; all bodies are different.
fn enhanced(codec: VideoCodec) -> Vec<Media> {
    let video = |content, cts_ms, payload: Vec<u8>| {
        VideoTag { codec, content, cts_ms, track: 0, payload: payload.into() }.encode()
    };
    let opus = |content, payload: Vec<u8>| {
        AudioTag { codec: AudioCodec::Opus, content, track: 0, legacy: None, payload: payload.into() }.encode()
    };
    let mut media = vec![
        (MediaKind::Audio, 0, opus(Content::Header, b"OpusHead\x01\x02".to_vec())),
        (MediaKind::Video, 0, video(Content::Header, 0, vec![1; 30])),
    ];
    for n in 0..100_u32 {
        let (content, cts) = if n % 25 == 0 { (Content::Keyframe, 80) } else { (Content::Frame, -40) };
        let cts = if codec == VideoCodec::Hevc { cts } else { 0 };
        media.push((
            MediaKind::Video,
            n * 40,
            video(content, cts, [&[9], n.to_be_bytes().as_slice(), &[7; 5_000]].concat()),
        ));
        media.push((MediaKind::Audio, n * 40 + 10, opus(Content::Frame, n.to_be_bytes().to_vec())));
    }
    media.into_iter().map(|(kind, timestamp, body)| Media { kind, timestamp, body }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn enhanced_rtmp_codecs_are_unchanged() {
    for (codec, name) in [(VideoCodec::Hevc, "hevc"), (VideoCodec::Av1, "av1")] {
        let stage = Stage::new().await;
        let platform = platform().await;
        let spec = stage.project("key", &[&platform]);
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        let all = enhanced(codec);
        encoder.send_all(&all[..20]).await.expect("is taken");
        stage.until_all_live(&spec).await;
        encoder.send_all(&all[20..]).await.expect("is taken");
        let status = stage.until(spec.id, "measured", |status| status.stream.video.is_some()).await;
        assert_eq!(status.stream.video.as_ref().map(|video| video.codec), Some(name));
        assert_eq!(status.stream.audio.as_ref().map(|audio| audio.codec), Some("opus"));
        encoder.stop().await.expect("says goodbye");
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        assert_same(&visits[0].media, &all);
        assert!(is_monotonic(&visits[0].media));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_can_end_a_stream_and_start_another() {
    let stage = Stage::new().await;
    let platform = platform().await;
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(1_000, 1).write()).await.expect("is taken");
    platform.until_video(26).await;
    stage.engine.end(spec.id, EndReason::EndedByOwner);
    encoder.closed().await.expect("the encoder is closed");
    let mut again = Encoder::publish(stage.address, "key").await.expect("is admitted again");
    again.send_all(&script(1_000, 2).write()).await.expect("is taken");
    let visits = platform.until("the second visit", |visits| visits.len() == 2 && !visits[1].media.is_empty()).await;
    assert!(visits[0].unpublished && visits[0].ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_unpublishes_everywhere() {
    let mut stage = Stage::new().await;
    let platform = platform().await;
    stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(1_000, 1).write()).await.expect("is taken");
    platform.until_video(26).await;
    stage.engine.shutdown().await;
    assert!(platform.until("the end", |visits| visits[0].ended).await[0].unpublished);
    assert!(Encoder::publish(stage.address, "key").await.is_err());
    stage.events.close();
    let mut last = None;
    while let Some(event) = stage.events.recv().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(EngineEvent::StreamEnded { reason: EndReason::ServerStopped, .. })));
}
