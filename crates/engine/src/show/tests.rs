//! Fifty days through publisher, ring, feed, chunks and back, in one thread: beyond the 32-bit range of both clocks.

mod bent;

use std::num::NonZeroUsize;
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gostream_proto::rtmp::{
    client::{self, ClientSession, Intent, Request},
    handshake::RANDOM_BYTES,
    media::{Media, MediaKind},
    server::{self, ServerSession},
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::{live::LiveProject, writer::Publisher};
use crate::broadcast::{subscription::Delivery, *};
use crate::rtmp::feed::{Audience, Feed, Filled, PLATFORM_CHUNK_BYTES};
use crate::rtmp::origin::Origin;
use crate::{
    broadcast::subscription::Subscription,
    outputs::hls,
    spec::{AccountId, Goodbye, ProjectSpec, StreamKey},
};
use crate::{
    events::EndReason,
    spec::{ProjectId, StreamId},
};

/// Slightly more than 32 bits of milliseconds, in ms: 49.7 days and a half.
const SHOW_MS: u64 = (1 << 32) + 12 * 60 * 60 * 1_000;
/// Interval of pictures, in ms.
const STEP_MS: u64 = 9_900;
/// The encoder's clock wraps on the fourth day, the platform's on the fiftieth.
const START: u32 = 4_000_000_000;

/// A client and a server session after the permission to publish.
struct Connection {
    client: ClientSession,
    platform: ServerSession,
}

impl Connection {
    fn publishing() -> Self {
        let request = Request {
            intent: Intent::Push,
            app: "app".to_owned(),
            tc_url: "rtmp://h/app".to_owned(),
            name: "key".to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: false,
            flash_version: None,
        };
        let client = ClientSession::new(request, [1; RANDOM_BYTES]);
        let mut connection = Self { client, platform: ServerSession::new([2; RANDOM_BYTES]) };
        loop {
            if connection.arrived().iter().any(|event| matches!(event, server::Event::Publish(_))) {
                connection.platform.accept_publish();
            }
            let received = connection.platform.outbox().drain();
            let mut received: &[u8] = &received;
            while let Some(event) = connection.client.advance(&mut received).expect("is RTMP") {
                if event == client::Event::Ready {
                    return connection;
                }
            }
        }
    }

    /// The server's events for everything that the client wrote.
    fn arrived(&mut self) -> Vec<server::Event> {
        let written = self.client.outbox().drain();
        let mut written: &[u8] = &written;
        std::iter::from_fn(|| self.platform.advance(&mut written).expect("is RTMP")).collect()
    }
}

pub(crate) fn live() -> Arc<LiveProject> {
    let broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
    let spec = ProjectSpec {
        id: broadcast.project,
        account: AccountId(Uuid::nil()),
        stream_key: StreamKey::new("key"),
        playback_id: String::new(),
        goodbye: Goodbye::Ends,
        destinations: vec![],
    };
    LiveProject::new(
        broadcast,
        watch::Sender::new(spec),
        mpsc::channel(1).0,
        Arc::new(hls::Output::new(std::time::UNIX_EPOCH)),
    )
}

#[test]
fn fifty_days_keep_their_times_over_both_wraps() {
    let live = live();
    let ticket = live.take_seat();
    let mut publisher = Publisher::new(Arc::clone(&live), ticket);
    let mut feed =
        Feed::new(Subscription::new(&live.broadcast, Delivery::Immediate), Audience::Platform, Origin::default());
    let mut connection = Connection::publishing();
    let header = Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0, 1, 0, 0]);
    // More than a chunk, near the wraps.
    let size = PLATFORM_CHUNK_BYTES.checked_add(1).map_or(0, NonZeroUsize::get);
    let large = Bytes::from([&[0x17, 1, 0, 0, 0][..], &vec![0; size]].concat());
    let small = Bytes::from_static(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]);
    let began = Instant::now();
    publisher.push(Media { kind: MediaKind::Video, timestamp: START, body: header }, began);
    let mut received = 0_u64;
    let mut at = 0_u64;
    while at < SHOW_MS {
        let near_wrap = at < 2 * STEP_MS || (1_u64 << 32).abs_diff(at) < 2 * STEP_MS;
        let body = if near_wrap { large.clone() } else { small.clone() };
        let timestamp = START.wrapping_add(at as u32);
        let media = Media { kind: MediaKind::Video, timestamp, body: body.clone() };
        publisher.push(media, began + Duration::from_millis(at));
        publisher.flush(Instant::now());
        assert_eq!(feed.fill(usize::MAX, |media| connection.client.send_media(media)), Filled::Media, "at {at}");
        let events = connection.arrived();
        let Some(server::Event::Media(media)) = events.last() else { panic!("{} events at {at}", events.len()) };
        // The first frame follows its header.
        assert_eq!(events.len(), if at == 0 { 2 } else { 1 }, "at {at}");
        assert_eq!((media.timestamp, media.body.len()), (at as u32, body.len()), "at {at}");
        received += 1;
        at += STEP_MS;
    }
    assert_eq!(received, SHOW_MS.div_ceil(STEP_MS));
}

#[tokio::test]
async fn held_packets_are_read_when_the_owner_ends_the_stream() {
    let live = live();
    let ticket = live.take_seat();
    let mut publisher = Publisher::new(Arc::clone(&live), ticket);
    let new_feed =
        || Feed::new(Subscription::new(&live.broadcast, Delivery::Immediate), Audience::Platform, Origin::default());
    // Enough feeds that they are not woken for every packet.
    let mut feeds: Vec<_> = (0..50).map(|_| new_feed()).collect();
    let frame = |timestamp, first| {
        let body = Bytes::copy_from_slice(&[first, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]);
        Media { kind: MediaKind::Video, timestamp, body }
    };
    let header = Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0, 1, 0, 0]);
    let now = Instant::now();
    publisher.push(Media { kind: MediaKind::Video, timestamp: 0, body: header }, now);
    publisher.push(frame(0, 0x17), now);
    let fill = |feed: &mut Feed| feed.fill(usize::MAX, |_| {});
    assert!(feeds.iter_mut().all(|feed| fill(feed) == Filled::Media));
    publisher.push(frame(40, 0x27), now);
    assert!(publisher.flush(Instant::now()).is_some(), "too early to wake all of them");
    assert!(feeds.iter_mut().all(|feed| fill(feed) == Filled::Nothing));
    live.broadcast.end(EndReason::EndedByOwner);
    assert!(feeds.iter_mut().all(|feed| fill(feed) == Filled::Media), "the last packet");
}

const SPS: &[u8] = &[
    0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03,
    0x00, 0xF0, 0x3C, 0x58,
];
const PPS: &[u8] = &[0x68, 0xCE, 0x0F, 0xC8];

/// A sequence parameter set with another level.
fn sps(level: u8) -> Bytes {
    [&SPS[..3], &[level], &SPS[4..]].concat().into()
}

fn record(level: u8) -> Bytes {
    gostream_proto::codec::avc::Config::record(&[sps(level)], &[Bytes::from_static(PPS)]).expect("has a profile")
}

#[test]
fn messages_without_frames_do_not_move_times() {
    let live = live();
    let mut publisher = Publisher::new(Arc::clone(&live), live.take_seat());
    let mut feed =
        Feed::new(Subscription::new(&live.broadcast, Delivery::Immediate), Audience::Platform, Origin::default());
    let began = Instant::now();
    let mut push = |kind, timestamp, body: &[u8], at| {
        let media = Media { kind, timestamp, body: Bytes::copy_from_slice(body) };
        publisher.push(media, began + Duration::from_millis(at));
    };
    let audio_header: &[u8] = &[0xAF, 0, 0x11, 0x90];
    push(MediaKind::Video, 0, &[&[0x17, 0, 0, 0, 0], record(30).as_ref()].concat(), 0);
    push(MediaKind::Audio, 0, audio_header, 0);
    // Pictures are a second ahead of the audio that arrives with them.
    for n in 0..100 {
        let (ms, first, slice) = (n * 40, if n == 0 { 0x17 } else { 0x27 }, if n == 0 { 0x65 } else { 0x41 });
        push(MediaKind::Video, ms as u32 + 1_000, &[first, 1, 0, 0, 0, 0, 0, 0, 3, slice, 0x9A, 0x80], ms);
        push(MediaKind::Audio, ms as u32, &[0xAF, 1, 0x21, 7], ms);
        if n % 10 == 5 {
            push(MediaKind::Audio, ms as u32, audio_header, ms);
            push(MediaKind::Data, 0, b"\x02\0\x0AonTextData", ms);
        }
    }
    publisher.flush(began + Duration::from_secs(5));
    let mut sound = Vec::new();
    feed.fill(usize::MAX, |media| {
        if media.kind == MediaKind::Audio && media.payload[1] == 1 {
            sound.push(media.timestamp);
        }
    });
    // Audio before the first picture's time gets time 0.
    let later: Vec<_> = sound.into_iter().filter(|ms| *ms > 0).collect();
    assert!(later.len() > 70 && later.windows(2).all(|pair| pair[1] - pair[0] == 40), "{later:?}");
}

#[test]
fn returning_encoder_with_new_parameter_sets_is_previewed() {
    let live = live();
    let began = Instant::now();
    for (n, level) in [(0, 31), (1, 32)] {
        let mut publisher = Publisher::new(Arc::clone(&live), live.take_seat());
        let units = [&[0, 0, 0, SPS.len() as u8][..], &sps(level), &[0, 0, 0, 4], PPS, &[0, 0, 0, 3, 0x65, 0x88, 0x80]];
        for body in
            [[&[0x17, 0, 0, 0, 0], record(30).as_ref()].concat(), [&[0x17, 1, 0, 0, 0][..], &units.concat()].concat()]
        {
            let media = Media { kind: MediaKind::Video, timestamp: 0, body: body.into() };
            publisher.push(media, began + Duration::from_secs(n));
        }
        publisher.depart(crate::show::writer::Departure::Dropped);
    }
    let ring = live.broadcast.ring();
    let newest = ring.headers().iter().filter(|entry| entry.packet.payload == record(32)).count();
    assert_eq!(newest, 1);
}
