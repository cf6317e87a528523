//! The normaliser: whatever an encoder sends, readers can rely on what is said of it, in the order in which it came, and no
//! more is held than a picture and what waits for it.
#![no_main]

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gostream_fuzz::{messages::Message, records};
use gostream_proto::{
    codec::{
        avc, hevc,
        nal::{self, Filling},
    },
    flv::{AudioTag, Content, Normaliser, Stamped, VideoTag},
    limits::MESSAGE_BYTES_MAX,
    packet::{Packet, PacketKind},
    track::{Codec, VideoCodec},
};
use libfuzzer_sys::fuzz_target;

/// What the messages of a stream may have together: more than a normaliser may hold.
const BUDGET_BYTES: usize = 40 * 1024 * 1024;
/// Messages that a normaliser may keep alive: two headers and a picture.
const KEPT_MESSAGES: usize = 3;
/// Units that wait for their picture, in bytes.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;
/// Packets of one message: frames of ADTS, and a header before them; or what was held, and a header before its picture.
const PACKETS_MAX: usize = 300;

/// The bytes of a message, to know whether they are still held.
struct Tracked(Bytes, #[expect(dead_code, reason = "counts those that are alive")] Arc<()>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The stamps of video messages in the order in which they came, those from before the newest packet left out.
#[derive(Default)]
struct Order(VecDeque<u32>);

impl Order {
    fn sent(&mut self, wire: u32) {
        self.0.push_back(wire);
    }

    /// A packet with this stamp comes out: of no message before that of the packet before it.
    fn came(&mut self, wire: u32) {
        let place = self.0.iter().position(|sent| *sent == wire);
        self.0.drain(..place.expect("packets come in the order of their messages"));
    }
}

/// What a reader knows of the stream.
#[derive(Default)]
struct Reader {
    /// Of the newest header; `None` when it cannot be read.
    length_bytes: Option<usize>,
    video: Option<VideoCodec>,
}

impl Reader {
    /// Takes a packet that came of `message`, or of one before it.
    fn take(&mut self, packet: &Packet, message: &Bytes) {
        match packet.kind {
            PacketKind::VideoHeader => self.take_video_header(packet, message),
            PacketKind::Keyframe | PacketKind::InterFrame | PacketKind::Slices => self.take_picture(packet),
            PacketKind::AudioHeader | PacketKind::Audio => take_sound(packet),
            _ => assert!(packet.payload.is_empty(), "nobody packages {:?}", packet.kind),
        }
    }

    fn take_video_header(&mut self, packet: &Packet, message: &Bytes) {
        let Codec::Video(codec) = packet.codec else { panic!("a header has a codec") };
        let avc = avc::Config::parse(&packet.payload).ok().filter(|_| codec == VideoCodec::Avc);
        let hevc = hevc::Config::parse(&packet.payload).ok().filter(|_| codec == VideoCodec::Hevc);
        let is_own = message.windows(packet.payload.len()).any(|window| window == packet.payload);
        assert!(is_own || avc.as_ref().is_some_and(|avc| !avc.sps.is_empty()), "what is made parses");
        self.length_bytes = avc.map(|avc| avc.length_bytes).or(hevc.map(|hevc| hevc.length_bytes));
        self.video = Some(codec);
        // Relays keep the encoder's own header where it serves.
        if !packet.body.is_empty() {
            let tag = VideoTag::parse(&packet.body).expect("is a tag");
            assert_eq!((tag.content, &tag.payload), (Content::Header, &packet.payload));
            assert!(tag.codec == codec || codec == VideoCodec::Hevc, "{:?} says {codec:?}", tag.codec);
        }
    }

    fn take_picture(&self, packet: &Packet) {
        let Codec::Video(codec) = packet.codec else {
            assert!(packet.payload.is_empty(), "what is not understood is not packaged");
            return;
        };
        let tag = VideoTag::parse(&packet.body).expect("is a tag");
        assert!(matches!(tag.content, Content::Keyframe | Content::Frame), "{:?}", tag.content);
        assert_eq!((tag.codec, tag.track), (codec, 0));
        assert!(packet.kind == PacketKind::Slices || tag.cts_ms == packet.cts_ms);
        assert!(packet.body.len() <= MESSAGE_BYTES_MAX + PREAMBLE_BYTES_MAX);
        let length_bytes = self.length_bytes.unwrap_or(4);
        let filling = nal::filling(&packet.payload, length_bytes);
        let is_understood = filling == Filling::Whole;
        if !matches!(codec, VideoCodec::Avc | VideoCodec::Hevc) || !is_understood {
            assert_eq!(tag.payload, packet.payload, "what is not understood passes as it came");
            let has_units = matches!(codec, VideoCodec::Avc | VideoCodec::Hevc);
            assert!(!has_units || filling == Filling::Broken && !nal::has_start_code(&packet.payload));
            return;
        }
        // What RTMP outputs get is the same: units that are glued together are glued in it as well.
        let has_other_tracks = tag.payload.as_ptr_range().end != packet.body.as_ptr_range().end;
        assert!(has_other_tracks || units(&tag.payload, length_bytes) == units(&packet.payload, length_bytes));
    }
}

/// The units of a picture, those under one length as well.
fn units(payload: &Bytes, length_bytes: usize) -> Vec<&[u8]> {
    nal::units(payload, length_bytes).flat_map(nal::split_start_codes).collect()
}

fn take_sound(packet: &Packet) {
    let tag = AudioTag::parse(&packet.body).expect("is a tag");
    assert_eq!((Codec::Audio(tag.codec), tag.track), (packet.codec, 0));
    if packet.kind == PacketKind::AudioHeader {
        // Channels that the bitstream describes may get a number.
        assert_eq!(tag.content, Content::Header);
    } else {
        assert_eq!((tag.content, &tag.payload), (Content::Frame, &packet.payload));
        assert!(!packet.payload.is_empty());
    }
}

fuzz_target!(|data: &[u8]| {
    // One input in 256, since it takes long.
    let large = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0xFF;
    let (mut normaliser, mut reader, mut order) = (Normaliser::default(), Reader::default(), Order::default());
    let (mut wire, mut bytes, alive) = (0_u32, 0, Arc::new(()));
    let mut out = Vec::new();
    for message in records(data).filter_map(|record| Message::read(&record, large)) {
        if message.restarts {
            out.extend(normaliser.finish());
        }
        wire = wire.wrapping_add(message.step_ms as u32);
        for _ in 0..message.times {
            bytes += message.body.len();
            if bytes > BUDGET_BYTES {
                return;
            }
            let body = Bytes::from_owner(Tracked(message.body.clone(), Arc::clone(&alive)));
            if message.is_audio {
                normaliser.audio(body, wire, &mut out);
            } else {
                order.sent(wire);
                normaliser.video(body, wire, &mut out);
            }
            assert!(out.len() <= PACKETS_MAX);
            for Stamped { packet, wire, .. } in out.drain(..) {
                if !message.is_audio {
                    order.came(wire);
                }
                reader.take(&packet, &message.body);
            }
            assert!(Arc::strong_count(&alive) - 1 <= KEPT_MESSAGES, "messages are not kept for what is small in them");
        }
    }
});
