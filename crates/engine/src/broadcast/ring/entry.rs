//! A packet in the ring.

use std::borrow::Cow;

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    rtmp::{chunk::SharedChunks, command::set_data_frame, media::MediaKind},
};

/// A packet and its chunks, which are computed once for all readers.
#[derive(Debug)]
pub struct Entry {
    /// The packet.
    pub packet: Packet,
    /// Video frames before this packet. Differences count the frames that a reader skipped.
    pub video_frames_before: u64,
    /// Arrival, in ms since the broadcast began.
    pub arrived_ms: i64,
    /// Media time since the beginning, in ms.
    pub(super) media_ms: i64,
    /// Chunks for platforms.
    pub(super) platform: SharedChunks,
    /// Chunks for players.
    pub(super) player: SharedChunks,
}

impl Entry {
    /// A copy that never caches chunks.
    pub(super) fn bare(&self) -> Self {
        let Self { ref packet, video_frames_before, arrived_ms, media_ms, .. } = *self;
        let (platform, player) = (SharedChunks::not_kept(), SharedChunks::not_kept());
        Self { packet: packet.clone(), video_frames_before, arrived_ms, media_ms, platform, player }
    }

    /// The type of RTMP message for this packet.
    pub fn media_kind(&self) -> MediaKind {
        match self.packet.kind {
            PacketKind::Metadata => MediaKind::Metadata,
            PacketKind::Data | PacketKind::Announcement => MediaKind::Data,
            PacketKind::AudioHeader
            | PacketKind::Audio
            | PacketKind::AudioOther
            | PacketKind::SideAudioHeader
            | PacketKind::SideAudio => MediaKind::Audio,
            PacketKind::VideoHeader
            | PacketKind::Keyframe
            | PacketKind::InterFrame
            | PacketKind::Slices
            | PacketKind::VideoOther
            | PacketKind::SideVideoHeader
            | PacketKind::SideVideo => MediaKind::Video,
        }
    }

    /// The RTMP payload for a platform, with wrapped metadata, and its chunks.
    pub fn for_platform(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        let payload = match self.packet.kind {
            PacketKind::Metadata => Cow::Owned(set_data_frame(&self.packet.flv)),
            _ => Cow::Borrowed(&self.packet.flv),
        };
        (payload, &self.platform)
    }

    /// The RTMP payload for a player, and its chunks.
    pub fn for_player(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        (Cow::Borrowed(&self.packet.flv), &self.player)
    }

    /// Memory in bytes, without chunks.
    pub(super) fn held_bytes(&self) -> usize {
        self.packet.held_bytes() + ENTRY_BYTES
    }
}

/// Memory of an entry in addition to its packet: its own fields, the two counters of its `Arc`, and its pointer in the
/// queue.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() - size_of::<Packet>() + 3 * size_of::<usize>();
