//! The ring: the newest packets of a broadcast, bounded by time and bytes.
//!
//! Packets have sequence numbers that never repeat. A reader holds the number of the packet it wants next; when that one
//! is gone, the reader was too slow and starts again. Where a reader starts, and why a slow destination skipped, is decided
//! in [`window`] and nowhere else.

mod entry;
mod headers;
mod seen;
mod start;
mod window;

use std::{collections::VecDeque, sync::Arc};

use gostream_proto::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

pub use self::{
    entry::Entry,
    headers::Headers,
    start::{Start, Why},
};
use self::{seen::Seen, window::Window};

/// How much is kept, by arrival and by media time: a destination that is further behind would show its viewers old pictures.
const KEPT_MS_MAX: i64 = 10_000;
/// Memory that is kept: 10 s of 50 Mbit/s.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many packets are kept: 10 s of what a publisher may send, and half as much again.
const KEPT_PACKETS_MAX: usize = 15_000;
/// Chunks of packets that are older than this are dropped: hardly a destination is so far behind, and one that is lays them
/// out for itself.
const DERIVED_KEPT_MS: i64 = 500;
/// The newest packets.
#[derive(Debug, Default)]
pub struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    first: u64,
    /// The sequence number of the oldest entry that may hold chunks.
    fresh: u64,
    /// Memory of all entries, without their chunks.
    bytes: usize,
    /// All that came.
    seen: Seen,
    /// The first picture and the first sound.
    firsts: [Option<Timestamp>; 2],
    /// How far the stream is: tracks may be apart, so each counts from its own beginning.
    media_ms: i64,
}

impl Ring {
    /// Appends a packet that came at `arrived_ms`, in ms since the broadcast began, and drops what is over the bounds.
    pub fn push(&mut self, packet: Packet, arrived_ms: i64) {
        self.advance(&packet);
        let (platform, player) = Default::default();
        let (video_frames_before, media_ms) = (self.seen.video_frames, self.media_ms);
        let entry = Arc::new(Entry { packet, video_frames_before, arrived_ms, media_ms, platform, player });
        self.seen.add(&entry);
        self.bytes += entry.held_bytes();
        self.entries.push_back(entry);
        self.drop_derived();
        self.evict();
    }

    fn advance(&mut self, packet: &Packet) {
        let first = match packet.kind {
            kind if kind.is_picture() => &mut self.firsts[0],
            PacketKind::Audio => &mut self.firsts[1],
            _ => return,
        };
        self.media_ms = self.media_ms.max(packet.dts.ms_since(*first.get_or_insert(packet.dts)));
    }

    /// One past the newest sequence number.
    pub fn head(&self) -> u64 {
        self.seen.end
    }

    /// Memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        let fresh = self.entries.range((self.fresh.max(self.first) - self.first) as usize..);
        let chunks: usize = fresh.map(|entry| entry.platform.held_bytes() + entry.player.held_bytes()).sum();
        self.bytes + chunks
    }

    /// How many video frames came so far.
    pub fn video_frames(&self) -> u64 {
        self.seen.video_frames
    }

    /// The newest headers.
    pub fn headers(&self) -> &Headers {
        &self.seen.headers
    }

    /// When the newest packet came, in ms since the broadcast began.
    pub fn newest_ms(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.arrived_ms)
    }

    /// The packet of that number; `None` when it is gone or has not come yet.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Whether the packet of that number was dropped.
    pub fn is_gone(&self, sequence: u64) -> bool {
        sequence < self.first
    }

    /// Where a reader can start now, by the rules of [`window`].
    pub fn start(&mut self, waits_from: &mut Option<u64>) -> Option<Start> {
        let Self { entries, first, seen, .. } = self;
        Window { entries, first: *first, floor: *first, seen }.start(waits_from)
    }

    fn drop_derived(&mut self) {
        self.fresh = self.fresh.max(self.first);
        let Some(newest_ms) = self.newest_ms() else { return };
        while let Some(entry) = self.entries.get_mut((self.fresh - self.first) as usize) {
            if newest_ms - entry.arrived_ms < DERIVED_KEPT_MS {
                return;
            }
            *entry = Arc::new(entry.bare());
            self.fresh += 1;
        }
    }

    fn evict(&mut self) {
        while self.entries.len() > 1 {
            let (Some(front), Some(back)) = (self.entries.front(), self.entries.back()) else { return };
            let spans = (back.arrived_ms - front.arrived_ms).max(back.media_ms - front.media_ms);
            let fits = self.bytes <= KEPT_BYTES_MAX && self.entries.len() <= KEPT_PACKETS_MAX;
            if spans <= KEPT_MS_MAX && fits {
                return;
            }
            self.bytes -= front.held_bytes();
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
