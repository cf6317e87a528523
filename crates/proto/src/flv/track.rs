//! Track and packet from a single tag, without the state of the normaliser.

use bytes::Bytes;

use super::{
    audio::AudioTag,
    tag::{Content, MAIN_TRACK},
    video::VideoTag,
};
use crate::{
    codec::{self, aac, mp3},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, AudioTrack, Codec, VideoTrack},
};

/// The track in a video codec header; `None` for other tags. Size and rate are `None` if the header cannot be parsed.
pub fn video_track(tag: &VideoTag) -> Option<VideoTrack> {
    if tag.content != Content::Header {
        return None;
    }
    Some(codec::video_facts(tag.codec, &tag.payload))
}

/// The track in an audio tag: a codec header, or any frame of a codec that has no header.
pub fn audio_track(tag: &AudioTag) -> Option<AudioTrack> {
    let codec = tag.codec;
    let track = |sample_rate, channels| Some(AudioTrack { codec, sample_rate, channels });
    match (codec, tag.content) {
        (AudioCodec::Aac, Content::Header) => match aac::Config::parse(&tag.payload) {
            // With channel configuration 0, the bitstream describes the channels.
            Ok(config) => track(Some(config.output_rate()), Some(config.channels).filter(|&channels| channels > 0)),
            Err(_) => track(None, None),
        },
        (AudioCodec::Opus, Content::Header) => {
            // OpusHead (RFC 7845 section 5.1): magic, version, channels. Opus always decodes at 48 kHz.
            track(Some(48_000), tag.payload.get(9).copied())
        }
        (AudioCodec::Aac, _) => None,
        (AudioCodec::Mp3, Content::Frame) => match mp3::Header::parse(&tag.payload) {
            Some(header) => track(Some(header.rate), Some(header.channels)),
            None => track(None, None),
        },
        (_, Content::Header | Content::Frame) => match tag.legacy {
            Some(legacy) => track(Some(legacy.sample_rate), Some(legacy.channels)),
            None => track(None, None),
        },
        _ => None,
    }
}

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
    fn unreadable_messages_pass_through_unchanged() {
        for body in [&[][..], &[0x17], &[0x90, b'h'], &[0x97, 9]] {
            let packet = video_packet(Timestamp::ZERO, Bytes::copy_from_slice(body));
            assert_eq!((packet.kind, packet.body.as_ref()), (PacketKind::InterFrame, body));
        }
        assert_eq!(kinds(audio_packet, &[&[], &[0xAF], &[0x95, 0]]), [PacketKind::Audio; 3]);
    }
}
