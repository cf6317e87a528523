//! Destinations with a delay, on a paused clock.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    rtmp::media::MediaKind,
};
use tokio::time::advance;
use uuid::Uuid;

use super::*;
use crate::{
    broadcast::subscription::{Delivery, Subscription},
    rtmp::feed::{Audience, Feed, Filled},
    spec::{ProjectId, StreamId},
};

/// Interval of audio frames, in ms. Every second interval has a picture.
const STEP_MS: i64 = 20;
const GOP_MS: i64 = 1_000;

/// A broadcast with a simulated encoder.
struct Stream {
    broadcast: Arc<Broadcast>,
    pictures: bool,
    frame: Bytes,
}

/// A message that a connection sent.
#[derive(Clone, Debug)]
struct Sent {
    at_ms: i64,
    kind: MediaKind,
    time_ms: i64,
    body: Bytes,
}

/// A connection to a platform.
struct Leg {
    feed: Feed,
    sent: Vec<Sent>,
}

impl Stream {
    fn new() -> Self {
        let broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
        let stream = Self { broadcast, pictures: true, frame: Bytes::new() };
        stream.push(PacketKind::AudioHeader, 0, b"sound");
        stream.push(PacketKind::VideoHeader, 0, b"pictures");
        stream
    }

    fn push(&self, kind: PacketKind, ms: i64, body: &[u8]) {
        let packet = Packet::opaque(kind, Timestamp::from_ms(ms), Bytes::copy_from_slice(body));
        self.broadcast.ring().push(packet, self.broadcast.age_ms());
    }

    /// Pushes all packets of one moment of the stream.
    fn push_moment(&self, ms: i64) {
        let body = |track: &[u8]| [track, &ms.to_be_bytes()].concat();
        if self.pictures && ms % (2 * STEP_MS) == 0 {
            let kind = if ms % GOP_MS == 0 { PacketKind::Keyframe } else { PacketKind::InterFrame };
            if self.frame.is_empty() {
                self.push(kind, ms, &body(b"picture"));
            } else {
                let packet = Packet::opaque(kind, Timestamp::from_ms(ms), self.frame.clone());
                self.broadcast.ring().push(packet, self.broadcast.age_ms());
            }
        }
        self.push(PacketKind::Audio, ms, &body(b"sound"));
    }

    /// Runs for `ms`; the packets of each moment arrive when `arrives` says.
    async fn run_with(&self, ms: i64, legs: &mut [&mut Leg], arrives: impl Fn(i64) -> i64) {
        let from_ms = self.broadcast.age_ms();
        for now_ms in (from_ms..from_ms + ms).step_by(STEP_MS as usize) {
            for ms in (now_ms - GOP_MS..=now_ms).filter(|ms| *ms >= 0 && ms % STEP_MS == 0) {
                if arrives(ms) == now_ms {
                    self.push_moment(ms);
                }
            }
            self.broadcast.wake_readers();
            for leg in legs.iter_mut() {
                leg.read(now_ms);
            }
            advance(Duration::from_millis(STEP_MS as u64)).await;
        }
    }

    async fn run(&self, ms: i64, legs: &mut [&mut Leg]) {
        self.run_with(ms, legs, |ms| ms).await;
    }

    /// A connection to the destination with this clock.
    fn leg(&self, origin: &Origin) -> Leg {
        let subscription = Subscription::new(&self.broadcast, Delivery::Batched);
        Leg { feed: Feed::new(subscription, Audience::Platform, origin.clone()), sent: Vec::new() }
    }

    fn origin(&self, delay_ms: i64) -> Origin {
        let origin = Origin::default();
        self.want(&origin, delay_ms);
        origin
    }

    /// Changes the delay as the supervisor does.
    fn want(&self, origin: &Origin, delay_ms: i64) {
        origin.want(delay_ms, &self.broadcast);
        self.broadcast.keep_for(origin.kept_ms());
    }
}

impl Leg {
    fn read(&mut self, at_ms: i64) {
        let sent = &mut self.sent;
        let filled = self.feed.fill(usize::MAX, |media| {
            let (kind, time_ms) = (media.kind, i64::from(media.timestamp));
            sent.push(Sent { at_ms, kind, time_ms, body: media.payload.clone() });
        });
        assert_ne!(filled, Filled::HeadersChanged, "at {at_ms}");
    }

    fn of(&self, kind: MediaKind) -> impl Iterator<Item = &Sent> {
        // Excludes headers, which have shorter bodies.
        self.sent.iter().filter(move |sent| sent.kind == kind && sent.body.len() > b"pictures".len())
    }

    /// Asserts that times never fall and no track pauses for a keyframe interval or longer.
    fn assert_smooth(&self, what: &str) {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let sent: Vec<_> = self.of(kind).collect();
            for pair in sent.windows(2) {
                assert!(pair[1].time_ms >= pair[0].time_ms, "{what}: {pair:?}");
                assert!(pair[1].at_ms - pair[0].at_ms < GOP_MS, "{what}: {pair:?}");
            }
        }
    }

    /// Steps in ms between consecutive pictures that are not neighbours in the stream.
    fn jumps(&self) -> Vec<i64> {
        let shown: Vec<_> = self.of(MediaKind::Video).map(|sent| (sent.at_ms, moment(&sent.body))).collect();
        let jumps = shown.windows(2).filter(|pair| pair[1].1 - pair[0].1 != 2 * STEP_MS);
        jumps.map(|pair| pair[1].1 - pair[0].1).collect()
    }
}

/// The moment of the stream that a body belongs to, in ms.
fn moment(body: &Bytes) -> i64 {
    let (_, ms) = body.split_last_chunk::<8>().expect("ends with its moment");
    i64::from_be_bytes(*ms)
}

#[tokio::test(start_paused = true)]
async fn delayed_destination_gets_the_same_stream_later() {
    for delay_ms in [1_000, 30_000, 300_000] {
        let stream = Stream::new();
        let (now, later) = (stream.origin(0), stream.origin(delay_ms));
        let (mut at_once, mut delayed) = (stream.leg(&now), stream.leg(&later));
        stream.broadcast.keep_for(delay_ms);
        stream.run(delay_ms + 15_000, &mut [&mut at_once, &mut delayed]).await;
        assert!(delayed.sent.len() > 1_000, "{}", delayed.sent.len());
        assert_eq!(delayed.sent.len(), at_once.sent.len() - (3 * delay_ms / (2 * STEP_MS)) as usize);
        for (before, after) in at_once.sent.iter().zip(&delayed.sent) {
            assert_eq!((after.kind, after.time_ms, &after.body), (before.kind, before.time_ms, &before.body));
            assert_eq!(after.at_ms, before.at_ms + delay_ms);
        }
        assert!(delayed.feed.lag_ms() <= STEP_MS, "no lag after what is due");
    }
}

#[tokio::test(start_paused = true)]
async fn delay_change_while_live_neither_pauses_nor_goes_back() {
    for (from_ms, to_ms) in [
        (0, 1_000),
        (0, 5_000),
        (0, 30_000),
        (5_000, 0),
        (30_000, 0),
        (5_000, 12_000),
        (30_000, 5_000),
        (2_340, 4_560),
        (4_560, 2_340),
    ] {
        let stream = Stream::new();
        let origin = stream.origin(from_ms);
        let mut leg = stream.leg(&origin);
        stream.run(from_ms + 12_340, &mut [&mut leg]).await;
        stream.want(&origin, to_ms);
        stream.run(to_ms + from_ms + 5_000, &mut [&mut leg]).await;
        let what = format!("{from_ms} to {to_ms}");
        leg.assert_smooth(&what);
        // On a clock without jumps or pauses, every packet is sent at a constant offset from its time.
        let offsets: Vec<_> = leg.of(MediaKind::Video).map(|sent| sent.at_ms - sent.time_ms).collect();
        assert!(offsets.iter().all(|offset| *offset == from_ms), "{what}: {offsets:?}");
        let jumps = leg.jumps();
        let shift_ms = 2 * STEP_MS + from_ms - to_ms;
        assert!(
            jumps.len() == 1 && (jumps[0] - shift_ms).abs() <= STEP_MS,
            "{what}: by {shift_ms}, at once: {jumps:?}"
        );
        assert_eq!((leg.feed.delay_ms(), leg.feed.skipped_frames()), (to_ms, 0), "{what}");
        assert!(leg.feed.lag_ms() <= STEP_MS, "{what}");
        let first = leg.of(MediaKind::Video).map(|sent| moment(&sent.body)).collect::<Vec<_>>();
        let switched = first.windows(2).find(|pair| pair[1] - pair[0] != 2 * STEP_MS).expect("switched");
        assert_eq!(switched[1] % GOP_MS, 0, "{what}: at a keyframe");
    }
}

/// Times by body and by the number of times that it was sent.
fn times(leg: &Leg) -> BTreeMap<(Bytes, usize), i64> {
    let mut seen = BTreeMap::<Bytes, usize>::new();
    let of_both = leg.of(MediaKind::Audio).chain(leg.of(MediaKind::Video));
    of_both
        .map(|sent| {
            let times = seen.entry(sent.body.clone()).or_default();
            *times += 1;
            ((sent.body.clone(), *times), sent.time_ms)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn times_never_go_back_on_any_leg_with_bursts() {
    // A network that stops for most of a second, repeatedly.
    let in_bursts = |ms: i64| ms - ms.rem_euclid(940) + 920;
    for (from_ms, to_ms) in [(0, 5_000), (5_000, 0), (3_000, 8_000), (8_000, 3_000)] {
        for n in 0..20 {
            let stream = Stream::new();
            let origin = stream.origin(from_ms);
            let (mut primary, mut backup) = (stream.leg(&origin), stream.leg(&origin));
            stream.run_with(from_ms + 10_000 + n * 100, &mut [&mut primary, &mut backup], in_bursts).await;
            stream.want(&origin, to_ms);
            stream.run_with(to_ms + 3_000, &mut [&mut backup, &mut primary], in_bursts).await;
            // The third leg joins after the change.
            let mut third = stream.leg(&origin);
            stream.run_with(6_000, &mut [&mut primary, &mut backup, &mut third], in_bursts).await;
            let what = format!("{from_ms} to {to_ms}, {n}");
            for leg in [&primary, &backup, &third] {
                for kind in [MediaKind::Audio, MediaKind::Video] {
                    let fell = leg.of(kind).zip(leg.of(kind).skip(1)).find(|(a, b)| b.time_ms < a.time_ms);
                    assert!(fell.is_none(), "{what}: {fell:?}");
                }
            }
            assert_eq!(primary.jumps().len(), 1, "{what}");
            assert_eq!(times(&primary), times(&backup), "{what}: one clock");
            let shown: BTreeMap<_, _> = primary.of(MediaKind::Video).map(|sent| (&sent.body, sent.time_ms)).collect();
            assert!(third.of(MediaKind::Video).count() > 50, "{what}");
            assert!(third.of(MediaKind::Video).all(|sent| shown[&sent.body] == sent.time_ms), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_changes_lead_to_one_switch_to_the_last() {
    let stream = Stream::new();
    let origin = stream.origin(2_000);
    let mut leg = stream.leg(&origin);
    stream.run(10_100, &mut [&mut leg]).await;
    for delay_ms in [9_000, 0, 300_000, 2_000, 4_000] {
        stream.want(&origin, delay_ms);
        stream.run(60, &mut [&mut leg]).await;
    }
    stream.run(8_000, &mut [&mut leg]).await;
    leg.assert_smooth("repeated changes");
    assert_eq!((leg.jumps(), leg.feed.delay_ms()), (vec![2 * STEP_MS - 2_000], 4_000));
    stream.want(&origin, 5_000);
    stream.want(&origin, 4_000);
    stream.run(8_000, &mut [&mut leg]).await;
    assert_eq!(leg.jumps().len(), 1, "a reverted change has no effect");
}

#[tokio::test(start_paused = true)]
async fn longer_delay_does_not_go_back_before_a_format_change() {
    let stream = Stream::new();
    let origin = stream.origin(0);
    let mut before = stream.leg(&origin);
    stream.run(10_000, &mut [&mut before]).await;
    drop(before);
    stream.push(PacketKind::VideoHeader, 10_000, b"others");
    let mut leg = stream.leg(&origin);
    stream.run(3_000, &mut [&mut leg]).await;
    stream.want(&origin, 8_000);
    // `Leg::read` panics if the header changes.
    stream.run(20_000, &mut [&mut leg]).await;
    leg.assert_smooth("another format");
    assert_eq!(leg.feed.delay_ms(), 8_000);
}

#[tokio::test(start_paused = true)]
async fn audio_only_stream_changes_its_delay_without_a_keyframe() {
    let mut stream = Stream::new();
    stream.pictures = false;
    stream.broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
    stream.push(PacketKind::AudioHeader, 0, b"sound");
    let origin = stream.origin(0);
    let mut leg = stream.leg(&origin);
    stream.run(8_000, &mut [&mut leg]).await;
    for delay_ms in [3_000, 1_000] {
        stream.want(&origin, delay_ms);
        stream.run(6_000, &mut [&mut leg]).await;
        assert_eq!(leg.feed.delay_ms(), delay_ms);
    }
    leg.assert_smooth("sound");
}

#[tokio::test(start_paused = true)]
async fn without_room_the_delay_is_shorter_and_nothing_is_skipped() {
    let mut stream = Stream::new();
    stream.frame = Bytes::from(vec![7; 1024 * 1024]);
    let (now, later) = (stream.origin(0), stream.origin(0));
    stream.want(&later, 60_000);
    let (mut at_once, mut delayed) = (stream.leg(&now), stream.leg(&later));
    for _ in 0..40 {
        stream.run(1_000, &mut [&mut at_once, &mut delayed]).await;
        // Half a second of cached chunks may exist in addition.
        assert!(stream.broadcast.ring_bytes() <= (320 + 16) * 1024 * 1024, "{}", stream.broadcast.ring_bytes());
    }
    let delay_ms = delayed.feed.delay_ms();
    assert!((8_000..13_000).contains(&delay_ms), "274 MiB at 25 MiB a second: {delay_ms}");
    assert_eq!(later.delay_ms(), delay_ms);
    assert!(delayed.feed.skipped_frames() == 0 && delayed.feed.lag_ms() <= STEP_MS);
    let notice = stream.broadcast.notices().all().iter().find(|notice| notice.code == "delay_shortened").cloned();
    let message = notice.expect("has a notice").message;
    assert!(message.starts_with("Your stream is too large to be kept for 60 s."), "{message}");
    assert!(message.contains(&format!("gets it {:.0} s later", delay_ms as f64 / 1_000.0)), "{message}");
    let pictures = |leg: &Leg| leg.of(MediaKind::Video).count();
    assert_eq!(pictures(&at_once), 40 * 25, "other destinations are unaffected");
    // With room again, the stream continues without a pause.
    stream.frame = Bytes::new();
    stream.run(40_000, &mut [&mut at_once, &mut delayed]).await;
    delayed.assert_smooth("no room");
    assert_eq!(pictures(&delayed) as i64, pictures(&at_once) as i64 - delay_ms.div_euclid(2 * STEP_MS));
    stream.want(&later, 0);
    stream.run(5_000, &mut [&mut at_once, &mut delayed]).await;
    assert_eq!(later.kept_ms(), 0);
    stream.broadcast.keep_for(0);
    assert!(stream.broadcast.ring_bytes() < 2 * 1024 * 1024, "delayed packets are evicted");
}
