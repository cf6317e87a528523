//! A packet in the ring.

use std::borrow::Cow;

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    rtmp::{chunk::SharedChunks, command::set_data_frame, media::MediaKind},
};

/// A packet and what is derived from it once for all readers.
#[derive(Debug)]
pub struct Entry {
    /// The packet.
    pub packet: Packet,
    /// How many video frames came before it; differences count what a reader skipped.
    pub video_frames_before: u64,
    /// When it came, in ms since the broadcast began.
    pub arrived_ms: i64,
    /// How far the stream is with it, in ms of media.
    pub(super) media_ms: i64,
    /// What goes to platforms.
    pub(super) platform: SharedChunks,
    /// What goes to players.
    pub(super) player: SharedChunks,
}

impl Entry {
    /// The same without chunks, now and later.
    pub(super) fn bare(&self) -> Self {
        let Self { ref packet, video_frames_before, arrived_ms, media_ms, .. } = *self;
        let (platform, player) = (SharedChunks::not_kept(), SharedChunks::not_kept());
        Self { packet: packet.clone(), video_frames_before, arrived_ms, media_ms, platform, player }
    }

    /// The kind of RTMP message that carries it.
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

    /// The message payload that a platform gets, metadata wrapped, and its chunks.
    pub fn for_platform(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        let payload = match self.packet.kind {
            PacketKind::Metadata => Cow::Owned(set_data_frame(&self.packet.flv)),
            _ => Cow::Borrowed(&self.packet.flv),
        };
        (payload, &self.platform)
    }

    /// The message payload that a player gets, and its chunks.
    pub fn for_player(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        (Cow::Borrowed(&self.packet.flv), &self.player)
    }

    /// Memory that it takes, without chunks.
    pub(super) fn held_bytes(&self) -> usize {
        self.packet.held_bytes() + ENTRY_BYTES
    }
}

/// What an entry costs beside its packet: its own fields, the two counters of its `Arc`, and its place in the queue.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() - size_of::<Packet>() + 3 * size_of::<usize>();
