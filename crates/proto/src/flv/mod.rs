//! FLV tags (Adobe FLV 10.1 annex E.4) and their Enhanced RTMP v2 forms: what RTMP audio and video messages hold.

pub mod audio;
mod enhanced;
pub mod file;
mod normaliser;
pub mod video;

use bytes::Bytes;

pub use audio::AudioTag;
pub use normaliser::{Normaliser, Oddities, Stamped};
pub use video::VideoTag;

use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::Codec,
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

/// The packet in a video message by its tag alone: flags decide where decoding can start. What cannot be read passes through
/// as a frame. Packets of a broadcast come from a [`Normaliser`].
pub fn video_packet(dts: Timestamp, body: Bytes) -> Packet {
    let Ok(tag) = VideoTag::parse(&body) else { return Packet::opaque(PacketKind::InterFrame, dts, body) };
    let main = tag.track == MAIN_TRACK;
    let kind = match tag.content {
        Content::Header if main => PacketKind::VideoHeader,
        Content::Header => PacketKind::SideVideoHeader,
        Content::Keyframe if main => PacketKind::Keyframe,
        Content::Frame if main => PacketKind::InterFrame,
        Content::Keyframe | Content::Frame => PacketKind::SideVideo,
        Content::EndOfSequence | Content::Other => PacketKind::VideoOther,
    };
    Packet {
        codec: Codec::Video(tag.codec),
        cts_ms: tag.cts_ms,
        payload: tag.payload,
        ..Packet::opaque(kind, dts, body)
    }
}

/// The packet in an audio message by its tag alone; what cannot be read and what is no header passes through as a frame.
pub fn audio_packet(dts: Timestamp, body: Bytes) -> Packet {
    let Ok(tag) = AudioTag::parse(&body) else { return Packet::opaque(PacketKind::Audio, dts, body) };
    let kind = match (tag.content, tag.track) {
        (Content::Header, MAIN_TRACK) => PacketKind::AudioHeader,
        (Content::Header, _) => PacketKind::SideAudioHeader,
        (_, MAIN_TRACK) => PacketKind::Audio,
        _ => PacketKind::SideAudio,
    };
    Packet { codec: Codec::Audio(tag.codec), payload: tag.payload, ..Packet::opaque(kind, dts, body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(packet: fn(Timestamp, Bytes) -> Packet, bodies: &[&[u8]]) -> Vec<PacketKind> {
        bodies.iter().map(|body| packet(Timestamp::ZERO, Bytes::copy_from_slice(body)).kind).collect()
    }

    #[test]
    fn side_tracks_neither_start_readers_nor_replace_headers() {
        use PacketKind::{AudioHeader, InterFrame, Keyframe, SideAudioHeader, SideVideo, SideVideoHeader, VideoHeader};
        let video = |track| -> [Vec<u8>; 3] {
            [(0x96, 0x00), (0x96, 0x03), (0xA6, 0x03)]
                .map(|(first, framing)| [&[first, framing][..], b"avc1", &[track, 1, 2]].concat())
        };
        let [main, side] = [video(0), video(1)];
        assert_eq!(kinds(video_packet, &main.each_ref().map(Vec::as_slice)), [VideoHeader, Keyframe, InterFrame]);
        assert_eq!(kinds(video_packet, &side.each_ref().map(Vec::as_slice)), [SideVideoHeader, SideVideo, SideVideo]);
        let audio = |track: u8| [&[0x95, 0x00][..], b"mp4a", &[track, 0x11, 0x90]].concat();
        assert_eq!(kinds(audio_packet, &[&audio(0), &audio(1)]), [AudioHeader, SideAudioHeader]);
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
