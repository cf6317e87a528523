//! The ring: the newest packets of a broadcast, bounded by time and bytes.
//!
//! Packets have sequence numbers that never repeat. A reader holds the number of the packet it wants next; when that one
//! is gone, the reader was too slow and starts again at the newest keyframe. Why a slow destination skipped is decided
//! here and nowhere else.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    rtmp::{chunk::SharedChunks, command::set_data_frame, media::MediaKind},
};

/// How much media time is kept: a destination that is further behind would show its viewers old pictures.
const KEPT_MS_MAX: i64 = 10_000;
/// How many bytes are kept: 10 s of 50 Mbit/s.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Behind the newest packet by this much a packet is let go of what was derived from it: hardly a destination is so far
/// behind, and one that is makes it anew for itself.
const DERIVED_KEPT_MS: i64 = 500;
/// Without any video for this long, a stream is audio only and readers may start anywhere.
const AUDIO_ONLY_AFTER_MS: i64 = 1_000;

/// A packet and what is derived from it once for all readers.
#[derive(Debug)]
pub struct Entry {
    /// The packet.
    pub packet: Packet,
    /// How many video frames came before it; differences count what a reader skipped.
    pub video_frames_before: u64,
    /// What goes to platforms.
    platform: SharedChunks,
    /// What goes to players.
    player: SharedChunks,
}

/// The headers in force at some packet: what a reader needs before it.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `onMetaData`.
    pub metadata: Option<Arc<Entry>>,
    /// The video codec header.
    pub video: Option<Arc<Entry>>,
    /// The audio codec header.
    pub audio: Option<Arc<Entry>>,
}

/// Where a reader can start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The packet to begin with: a keyframe, or any of an audio-only stream.
    pub sequence: u64,
    /// What to send first.
    pub headers: Headers,
    /// See [`Entry::video_frames_before`].
    pub video_frames_before: u64,
}

/// The newest packets.
#[derive(Debug, Default)]
pub struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    first: u64,
    /// The sequence number of the oldest entry that may hold what was derived from it.
    fresh: u64,
    bytes: usize,
    headers: Headers,
    /// The newest keyframe, unless its codec header was replaced since.
    keyframe: Option<Start>,
    has_video: bool,
    video_frames: u64,
}

impl Entry {
    fn new(packet: Packet, video_frames_before: u64) -> Self {
        Self { packet, video_frames_before, platform: SharedChunks::default(), player: SharedChunks::default() }
    }

    /// The kind of RTMP message that carries it.
    pub fn media_kind(&self) -> MediaKind {
        match self.packet.kind {
            PacketKind::Metadata => MediaKind::Metadata,
            PacketKind::Data => MediaKind::Data,
            PacketKind::AudioHeader | PacketKind::Audio => MediaKind::Audio,
            PacketKind::VideoHeader | PacketKind::Keyframe | PacketKind::InterFrame | PacketKind::VideoOther => {
                MediaKind::Video
            }
        }
    }

    /// The message payload that a platform gets, metadata wrapped, and its chunks.
    pub fn for_platform(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        let payload = match self.packet.kind {
            PacketKind::Metadata => Cow::Owned(set_data_frame(&self.packet.body)),
            _ => Cow::Borrowed(&self.packet.body),
        };
        (payload, &self.platform)
    }

    /// The message payload that a player gets, and its chunks.
    pub fn for_player(&self) -> (Cow<'_, Bytes>, &SharedChunks) {
        (Cow::Borrowed(&self.packet.body), &self.player)
    }

    /// Whether chunks are held besides the packet.
    fn is_laid_out(&self) -> bool {
        self.platform.is_laid_out() || self.player.is_laid_out()
    }
}

impl Headers {
    /// Metadata, video, audio: the order in which OBS and FFmpeg send them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        [&self.metadata, &self.video, &self.audio].into_iter().flatten()
    }

    /// The header that `kind` replaces.
    pub fn of_kind(&self, kind: PacketKind) -> Option<&Arc<Entry>> {
        match kind {
            PacketKind::Metadata => self.metadata.as_ref(),
            PacketKind::VideoHeader => self.video.as_ref(),
            PacketKind::AudioHeader => self.audio.as_ref(),
            _ => None,
        }
    }

    fn replace(&mut self, entry: &Arc<Entry>) {
        let slot = match entry.packet.kind {
            PacketKind::Metadata => &mut self.metadata,
            PacketKind::VideoHeader => &mut self.video,
            PacketKind::AudioHeader => &mut self.audio,
            _ => return,
        };
        *slot = Some(Arc::clone(entry));
    }
}

impl Ring {
    /// Appends a packet and lets go of what is over the bounds.
    pub fn push(&mut self, packet: Packet) {
        let kind = packet.kind;
        let entry = Arc::new(Entry::new(packet, self.video_frames));
        if kind == PacketKind::VideoHeader {
            let changed = self.headers.video.as_ref().is_none_or(|old| old.packet.body != entry.packet.body);
            if changed {
                self.keyframe = None;
            }
        }
        self.has_video |= kind.is_video();
        self.headers.replace(&entry);
        if matches!(kind, PacketKind::Keyframe | PacketKind::InterFrame) {
            self.video_frames += 1;
        }
        if kind == PacketKind::Keyframe {
            self.keyframe = Some(Start {
                sequence: self.head(),
                headers: self.headers.clone(),
                video_frames_before: entry.video_frames_before,
            });
        }
        self.bytes += entry.packet.body.len();
        self.entries.push_back(entry);
        self.let_go_of_derived();
        self.evict();
    }

    /// The sequence number behind the newest packet.
    pub fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many video frames came so far.
    pub fn video_frames(&self) -> u64 {
        self.video_frames
    }

    /// The headers in force now.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The time of the newest packet.
    pub fn newest_ms(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.packet.dts.as_ms())
    }

    /// The packet of that number; `None` when it is gone or has not come yet.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Whether the packet of that number was let go.
    pub fn is_gone(&self, sequence: u64) -> bool {
        sequence < self.first
    }

    /// Where a reader can start now: the newest keyframe with its headers. A stream that had no video for a while starts
    /// at its oldest packet.
    pub fn start(&self) -> Option<Start> {
        if let Some(start) = self.keyframe.as_ref().filter(|start| !self.is_gone(start.sequence)) {
            return Some(start.clone());
        }
        let front = self.entries.front()?;
        let spans = self.entries.back()?.packet.dts.ms_since(front.packet.dts);
        (!self.has_video && spans >= AUDIO_ONLY_AFTER_MS).then(|| Start {
            sequence: self.first,
            headers: self.headers.clone(),
            video_frames_before: front.video_frames_before,
        })
    }

    fn let_go_of_derived(&mut self) {
        self.fresh = self.fresh.max(self.first);
        let Some(newest) = self.entries.back().map(|entry| entry.packet.dts) else { return };
        while let Some(entry) = self.entries.get_mut((self.fresh - self.first) as usize) {
            if newest.ms_since(entry.packet.dts) < DERIVED_KEPT_MS {
                return;
            }
            if entry.is_laid_out() {
                *entry = Arc::new(Entry::new(entry.packet.clone(), entry.video_frames_before));
            }
            self.fresh += 1;
        }
    }

    fn evict(&mut self) {
        while self.entries.len() > 1 {
            let (Some(front), Some(back)) = (self.entries.front(), self.entries.back()) else { return };
            let spans = back.packet.dts.ms_since(front.packet.dts);
            if spans <= KEPT_MS_MAX && self.bytes <= KEPT_BYTES_MAX {
                return;
            }
            self.bytes -= front.packet.body.len();
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
