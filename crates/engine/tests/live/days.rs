//! A day of streaming in seconds: frames nine seconds apart, each awaited, because the ring holds ten seconds. The
//! engine's clock is advanced with them, because timestamps are compared with arrival.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_engine::{EngineConfig, limits::Limits};
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::time::timeout;

use crate::stage::{Stage, config};

const DAY_MS: u32 = 24 * 60 * 60 * 1_000;
/// The engine's tick.
const TICK: Duration = Duration::from_millis(40);
/// For what arrives within this time, the clock is not advanced.
const ADVANCE_STEP: Duration = Duration::from_millis(1);
/// Step between pictures.
const STEP_MS: u32 = 9_000;
/// From the keyframe to the audio after it.
const AUDIO_MS: u32 = 21;
/// Half a day before the encoder's 32-bit clock wraps.
const START: u32 = (DAY_MS / 2).wrapping_neg();

/// Longer than a chunk, so that an extended timestamp must be repeated within it.
fn keyframe(n: u32) -> Bytes {
    let mut body = BytesMut::with_capacity(4_200);
    body.put_slice(&[0x17, 1, 0, 0, 0]);
    body.put_u32(4_180);
    body.put_u8(0x65);
    body.put_u32(n);
    body.put_bytes(0xA5, 4_175);
    body.freeze()
}

fn audio(n: u32) -> Bytes {
    [&[0xAF, 1][..], &n.to_be_bytes()].concat().into()
}

/// Advances the clock.
async fn forward(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_day_of_timestamps_is_correct_across_the_wrap_and_beyond_24_bits() {
    let limits = Limits { silence: Duration::from_secs(60), ..Limits::default() };
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let headers = Script { start: START, ..Script::default() }.headers();
    encoder.send_all(&headers).await.expect("is taken");
    let mut expected = Vec::new();
    for n in 0..DAY_MS / STEP_MS {
        let since_start = n * STEP_MS;
        let frames =
            [(MediaKind::Video, since_start, keyframe(n)), (MediaKind::Audio, since_start + AUDIO_MS, audio(n))];
        for (kind, at, body) in frames {
            let timestamp = START.wrapping_add(at);
            encoder.send(&Media { kind, timestamp, body: body.clone() }).await.expect("is taken");
            expected.push(Media { kind, timestamp: at, body });
        }
        let count = headers.len() + expected.len();
        let is_there =
            |visits: &[gostream_testkit::platform::Visit]| visits.iter().any(|visit| visit.media.len() >= count);
        // Encoders are read on ticks, so the clock must advance until a tick after the frame.
        let mut passed = Duration::ZERO;
        while timeout(ADVANCE_STEP, platform.wait_for(&format!("frame {n}"), is_there)).await.is_err() {
            forward(TICK).await;
            passed += TICK;
        }
        forward(Duration::from_millis(STEP_MS.into()) - passed).await;
    }
    let visits = platform.visits();
    assert_eq!((visits.len(), platform.connections()), (1, 1));
    let received = &visits[0].media[headers.len()..];
    let differs = received.iter().zip(&expected).position(|(received, expected)| received != expected);
    assert_eq!((received.len(), differs), (expected.len(), None), "messages, first difference");
    assert!(expected.iter().any(|media| media.timestamp > 0xFF_FFFF));
    assert!(START.checked_add(DAY_MS).is_none(), "the encoder's clock wrapped");
}
