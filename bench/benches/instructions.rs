//! Instruction counts of the hot paths, measured with valgrind. They have no noise, so a change of a few per cent is a
//! change of the code. Run with `make instructions`.

#![allow(missing_docs, reason = "the macros generate undocumented items")]

use std::{hint::black_box, num::NonZeroUsize};

use bytes::{Bytes, BytesMut};
use gostream_engine::broadcast::ring::Ring;
use gostream_proto::{
    flv::{self, Normaliser},
    hls::{Segment, Segmenter},
    packet::Packet,
    rtmp::{
        chunk::{Bounds, Decoder, Encoder, csid, lay_out},
        media::{Media, MediaKind},
        message::{Message, MessageType},
    },
    time::{Clock, MainTrack, Timestamp},
};
use gostream_testkit::script::Script;
use gungraun::{library_benchmark, library_benchmark_group, main};

const CHUNK: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");

/// Two seconds at 25 frames of 24 kB per second: 4.8 Mbit/s.
fn script() -> Script {
    Script { ms: 2_100, gop_ms: 2_000, frame_bytes: 24_000, ..Script::default() }
}

fn frame() -> Bytes {
    Bytes::from(vec![0x27; 24_000])
}

/// A message of 24 kB in chunks of 4 kB, as an encoder sends it.
fn chunked() -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.set_chunk_size(CHUNK);
    let mut out = BytesMut::new();
    for timestamp in [0, 40, 80, 120] {
        let message = Message { kind: MessageType::Video, stream_id: 1, timestamp, payload: frame() };
        encoder.message(csid::VIDEO, &message, &mut out);
    }
    out.to_vec()
}

fn packets() -> Vec<Packet> {
    let media = script().write();
    let packet = |media: Media| {
        let dts = Timestamp::from_ms(media.timestamp.into());
        match media.kind {
            MediaKind::Video => Some(flv::video_packet(dts, media.body)),
            MediaKind::Audio => Some(flv::audio_packet(dts, media.body)),
            _ => None,
        }
    };
    media.into_iter().filter_map(packet).collect()
}

fn segment() -> Segment {
    let mut segmenter = Segmenter::default();
    let found = packets().iter().find_map(|packet| segmenter.push(packet, 0));
    found.unwrap_or_else(|| unreachable!("the second keyframe ends a segment"))
}

fn full_ring() -> Ring {
    let mut ring = Ring::default();
    for packet in packets() {
        let arrived_ms = packet.dts.as_ms();
        ring.push(packet, arrived_ms);
    }
    ring
}

#[library_benchmark]
#[bench::four_frames(chunked())]
fn decode_chunks(bytes: Vec<u8>) -> usize {
    let bounds = Bounds { message_bytes: 1 << 24, reassembly_bytes: 1 << 25 };
    let mut decoder = Decoder::new(bounds);
    let _ = decoder.set_chunk_size(4_096);
    let mut input = bytes.as_slice();
    let mut messages = 0;
    while let Ok(Some(message)) = decoder.decode(&mut input) {
        messages += black_box(message).payload.len();
    }
    messages
}

#[library_benchmark]
#[bench::one_frame(frame())]
fn lay_out_chunks(frame: Bytes) -> Bytes {
    let header = Encoder::default().header(csid::VIDEO, MessageType::Video, 1, 0, frame.len());
    lay_out(&header, black_box(&frame), CHUNK)
}

#[library_benchmark]
#[bench::one_message()]
fn encode_header() -> usize {
    let mut encoder = Encoder::default();
    let header =
        |timestamp| encoder.header(csid::VIDEO, MessageType::Video, 1, black_box(timestamp), 24_000).as_bytes().len();
    [0, 40, 80, 120].map(header).into_iter().sum()
}

// The cost of a message until it is a packet with a time.
#[library_benchmark]
#[bench::two_seconds(script().write())]
fn normalise_and_place(media: Vec<Media>) -> usize {
    let (mut normaliser, mut clock, mut packets) = (Normaliser::default(), Clock::default(), Vec::new());
    let mut count = 0;
    for Media { kind, timestamp, body } in media {
        let track = match kind {
            MediaKind::Video => MainTrack::Video,
            MediaKind::Audio => MainTrack::Audio,
            _ => continue,
        };
        match track {
            MainTrack::Video => normaliser.video(body, timestamp, &mut packets),
            MainTrack::Audio => normaliser.audio(body, timestamp, &mut packets),
        }
        for stamped in packets.drain(..) {
            black_box((clock.place(track, stamped.wire, timestamp.into()), stamped));
            count += 1;
        }
    }
    count
}

#[library_benchmark]
#[bench::two_seconds(packets())]
fn push_to_ring(packets: Vec<Packet>) -> Ring {
    let mut ring = Ring::default();
    for packet in packets {
        let arrived_ms = packet.dts.as_ms();
        ring.push(packet, arrived_ms);
    }
    ring
}

#[library_benchmark]
#[bench::two_seconds(full_ring())]
fn read_ring(mut ring: Ring) -> Ring {
    let mut sequence = ring.start(&mut None).map_or(0, |start| start.sequence);
    while let Some(entry) = ring.get(sequence) {
        black_box(entry.for_platform());
        sequence += 1;
    }
    ring
}

#[library_benchmark]
#[bench::two_seconds(segment())]
fn mux_ts(segment: Segment) -> Bytes {
    segment.ts()
}

library_benchmark_group!(
    name = hot_paths;
    benchmarks = decode_chunks, lay_out_chunks, encode_header, normalise_and_place, push_to_ring, read_ring, mux_ts
);
main!(library_benchmark_groups = hot_paths);
