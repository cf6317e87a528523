//! The normaliser: for arbitrary encoder input, packet kinds are reliable, the order is kept, and memory is bounded by
//! a picture and the units that wait for it.
#![no_main]

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gostream_fuzz::{messages::Message, records};
use gostream_proto::{
    codec::{
        avc, hevc,
        nal::{self, Framing},
    },
    flv::{AudioTag, Content, Normaliser, Stamped, VideoTag},
    limits::MESSAGE_BYTES_MAX,
    packet::{Packet, PacketKind},
    track::{Codec, VideoCodec},
};
use libfuzzer_sys::fuzz_target;

/// Total bytes of the messages of a stream: more than a normaliser may hold.
const BUDGET_BYTES: usize = 40 * 1024 * 1024;
/// Messages that a normaliser may keep in memory: two headers and a picture.
const KEPT_MESSAGES: usize = 3;
/// Units that wait for their picture, in bytes.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;
/// Packets of one message: ADTS frames and a header before them; or a held picture, and a header before the next.
const PACKETS_MAX: usize = 300;

/// The bytes of a message, with a reference count that shows whether they are still held.
struct Tracked(Bytes, #[expect(dead_code, reason = "counts those that are alive")] Arc<()>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Timestamps of video messages in order of arrival, without those before the newest packet.
#[derive(Default)]
struct Order(VecDeque<u32>);

impl Order {
    fn sent(&mut self, wire: u32) {
        self.0.push_back(wire);
    }

    /// Checks that a packet's message is not before the message of the previous packet.
    fn came(&mut self, wire: u32) {
        let place = self.0.iter().position(|sent| *sent == wire);
        self.0.drain(..place.expect("packets come in the order of their messages"));
    }
}

/// The state of a reader.
#[derive(Default)]
struct Reader {
    /// From the newest header; `None` if it cannot be parsed.
    length_bytes: Option<usize>,
    video: Option<VideoCodec>,
}

impl Reader {
    /// Takes a packet made from `message` or from an earlier one.
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
        assert!(is_own || avc.as_ref().is_some_and(|avc| !avc.sps.is_empty()), "a built header can be parsed");
        self.length_bytes = avc.map(|avc| avc.length_bytes).or(hevc.map(|hevc| hevc.length_bytes));
        self.video = Some(codec);
        // Relays keep the encoder's own header if it is usable.
        if !packet.flv.is_empty() {
            let tag = VideoTag::parse(&packet.flv).expect("is a tag");
            assert_eq!((tag.content, &tag.payload), (Content::Header, &packet.payload));
            assert!(tag.codec == codec || codec == VideoCodec::Hevc, "{:?} says {codec:?}", tag.codec);
        }
    }

    fn take_picture(&self, packet: &Packet) {
        let Codec::Video(codec) = packet.codec else {
            assert!(packet.payload.is_empty(), "an unreadable message is not packaged");
            return;
        };
        let tag = VideoTag::parse(&packet.flv).expect("is a tag");
        assert!(matches!(tag.content, Content::Keyframe | Content::Frame), "{:?}", tag.content);
        assert_eq!((tag.codec, tag.track), (codec, 0));
        assert!(packet.kind == PacketKind::Slices || tag.cts_ms == packet.cts_ms);
        assert!(packet.flv.len() <= MESSAGE_BYTES_MAX + PREAMBLE_BYTES_MAX);
        let length_bytes = self.length_bytes.unwrap_or(4);
        let framing = nal::framing(&packet.payload, length_bytes);
        let is_understood = framing == Framing::Complete;
        if !matches!(codec, VideoCodec::Avc | VideoCodec::Hevc) || !is_understood {
            assert_eq!(tag.payload, packet.payload, "an unreadable message is unchanged");
            let has_units = matches!(codec, VideoCodec::Avc | VideoCodec::Hevc);
            assert!(!has_units || framing == Framing::Invalid && !nal::has_start_code(&packet.payload));
            return;
        }
        // RTMP outputs get the same units, possibly several under one length prefix.
        let has_other_tracks = tag.payload.as_ptr_range().end != packet.flv.as_ptr_range().end;
        assert!(has_other_tracks || units(&tag.payload, length_bytes) == units(&packet.payload, length_bytes));
    }
}

/// The units of a picture, including several under one length prefix.
fn units(payload: &Bytes, length_bytes: usize) -> Vec<&[u8]> {
    nal::units(payload, length_bytes).flat_map(nal::split_start_codes).collect()
}

fn take_sound(packet: &Packet) {
    let tag = AudioTag::parse(&packet.flv).expect("is a tag");
    assert_eq!((Codec::Audio(tag.codec), tag.track), (packet.codec, 0));
    if packet.kind == PacketKind::AudioHeader {
        // Channels described in the bitstream may get a channelConfiguration.
        assert_eq!(tag.content, Content::Header);
    } else {
        assert_eq!((tag.content, &tag.payload), (Content::Frame, &packet.payload));
        assert!(!packet.payload.is_empty());
    }
}

fuzz_target!(|data: &[u8]| {
    // For one input in 256, since it is slow.
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
            assert!(Arc::strong_count(&alive) - 1 <= KEPT_MESSAGES, "messages are not kept for small slices of them");
        }
    }
});
