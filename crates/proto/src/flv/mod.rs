//! FLV tags (Adobe FLV 10.1 annex E.4) and their Enhanced RTMP v2 forms: what RTMP audio and video messages hold.

pub mod audio;
mod enhanced;
pub mod file;
pub mod video;

use bytes::Bytes;

pub use audio::AudioTag;
pub use video::VideoTag;

use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

/// The track that every player shows; the only one outside multitrack tags.
pub const MAIN_TRACK: u8 = 0;

/// What a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A codec header.
    Header,
    /// Video that decoding can start at.
    Keyframe,
    /// Video that needs earlier frames; any audio frame.
    Frame,
    /// The track ends.
    EndOfSequence,
    /// Anything else: commands, HDR metadata, channel layouts.
    Other,
}

/// Why bytes are no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tag ends within its header.
    #[error("the tag is cut short")]
    Truncated,
}

/// The packet in a video message. What cannot be read passes through as a frame: a relay does not need to understand it.
///
/// Headers and keyframes of side tracks (Enhanced RTMP v2 multitrack) are passed on where they stand: readers start by the
/// main track, number 0, and must not take another track's header for its own.
pub fn video_packet(dts: Timestamp, body: Bytes) -> Packet {
    let Ok(tag) = VideoTag::parse(&body) else {
        return Packet { kind: PacketKind::InterFrame, dts, cts_ms: 0, body };
    };
    let main = tag.track == MAIN_TRACK;
    let kind = match tag.content {
        Content::Header if main => PacketKind::VideoHeader,
        Content::Keyframe if main => PacketKind::Keyframe,
        Content::Keyframe | Content::Frame => PacketKind::InterFrame,
        Content::Header | Content::EndOfSequence | Content::Other => PacketKind::VideoOther,
    };
    Packet { kind, dts, cts_ms: tag.cts_ms, body }
}

/// The packet in an audio message; what cannot be read and what is no header passes through as a frame.
pub fn audio_packet(dts: Timestamp, body: Bytes) -> Packet {
    let header = AudioTag::parse(&body).is_ok_and(|tag| tag.content == Content::Header && tag.track == MAIN_TRACK);
    let kind = if header { PacketKind::AudioHeader } else { PacketKind::Audio };
    Packet { kind, dts, cts_ms: 0, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(packet: fn(Timestamp, Bytes) -> Packet, bodies: &[&[u8]]) -> Vec<PacketKind> {
        bodies.iter().map(|body| packet(Timestamp::ZERO, Bytes::copy_from_slice(body)).kind).collect()
    }

    #[test]
    fn side_tracks_neither_start_readers_nor_replace_headers() {
        use PacketKind::{Audio, AudioHeader, InterFrame, Keyframe, VideoHeader, VideoOther};
        let video = |track| -> [Vec<u8>; 3] {
            [(0x96, 0x00), (0x96, 0x03), (0xA6, 0x03)]
                .map(|(first, framing)| [&[first, framing][..], b"avc1", &[track, 1, 2]].concat())
        };
        let [main, side] = [video(0), video(1)];
        assert_eq!(kinds(video_packet, &main.each_ref().map(Vec::as_slice)), [VideoHeader, Keyframe, InterFrame]);
        assert_eq!(kinds(video_packet, &side.each_ref().map(Vec::as_slice)), [VideoOther, InterFrame, InterFrame]);
        let audio = |track: u8| [&[0x95, 0x00][..], b"mp4a", &[track, 0x11, 0x90]].concat();
        assert_eq!(kinds(audio_packet, &[&audio(0), &audio(1)]), [AudioHeader, Audio]);
    }

    #[test]
    fn what_cannot_be_read_passes_through_untouched() {
        for body in [&[][..], &[0x17], &[0x90, b'h'], &[0x97, 9]] {
            let packet = video_packet(Timestamp::ZERO, Bytes::copy_from_slice(body));
            assert_eq!((packet.kind, packet.body.as_ref()), (PacketKind::InterFrame, body));
        }
        assert_eq!(kinds(audio_packet, &[&[], &[0xAF], &[0x95, 0]]), [PacketKind::Audio; 3]);
    }
}
