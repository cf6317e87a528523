//! The packet of a single tag, without the state of the normaliser.

use bytes::Bytes;

use super::{
    audio::AudioTag,
    tag::{Content, MAIN_TRACK},
    video::VideoTag,
};
use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{Codec, TrackId},
};

/// The packet of a video message, from its tag alone: the flags decide where decoding can start. A message that cannot
/// be parsed becomes a frame. For the packets of a broadcast use [`Normaliser`](super::Normaliser).
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
        track: TrackId::video(tag.track),
        codec: Codec::Video(tag.codec),
        cts_ms: tag.cts_ms,
        payload: tag.payload,
        ..Packet::opaque(kind, dts, body)
    }
}

/// The packet of an audio message, from its tag alone. A message that cannot be parsed or is not a header becomes a
/// frame.
pub fn audio_packet(dts: Timestamp, body: Bytes) -> Packet {
    let Ok(tag) = AudioTag::parse(&body) else { return Packet::opaque(PacketKind::Audio, dts, body) };
    let kind = match (tag.content, tag.track) {
        (Content::Header, MAIN_TRACK) => PacketKind::AudioHeader,
        (Content::Header, _) => PacketKind::SideAudioHeader,
        (_, MAIN_TRACK) => PacketKind::Audio,
        _ => PacketKind::SideAudio,
    };
    Packet {
        track: TrackId::audio(tag.track),
        codec: Codec::Audio(tag.codec),
        payload: tag.payload,
        ..Packet::opaque(kind, dts, body)
    }
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
    fn unreadable_messages_pass_through_unchanged() {
        for body in [&[][..], &[0x17], &[0x90, b'h'], &[0x97, 9]] {
            let packet = video_packet(Timestamp::ZERO, Bytes::copy_from_slice(body));
            assert_eq!((packet.kind, packet.flv.as_ref()), (PacketKind::InterFrame, body));
        }
        assert_eq!(kinds(audio_packet, &[&[], &[0xAF], &[0x95, 0]]), [PacketKind::Audio; 3]);
    }
}
