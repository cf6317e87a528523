//! The ring: the newest packets of a broadcast, bounded by time and bytes.
//!
//! Readers without a delay see the newest ten seconds. If a destination has a delay, older packets are kept for it in
//! the same ring, and read at an older [`Moment`].
//!
//! Packets have sequence numbers that never repeat. A reader holds the number of the next packet it wants. If that
//! packet is gone, the reader was too slow and starts again. [`window`] alone decides where a reader starts, and so
//! what a slow destination skips.

mod entry;
mod headers;
mod mark;
mod moment;
mod seen;
mod start;
mod window;

use std::{collections::VecDeque, ops::Range, sync::Arc};

use gostream_proto::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

pub(crate) use self::moment::Moment;
pub use self::{
    entry::Entry,
    headers::Headers,
    start::{Start, StartReason},
};
use self::{mark::Mark, seen::Seen, window::Window};

/// Time kept, in ms, by arrival and by media time. A destination that is later than that would show old pictures.
const KEPT_MS_MAX: i64 = 10_000;
/// Memory kept, in bytes: 10 s of 50 Mbit/s.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Packets kept: 10 s of the most that a publisher may send, and half as much again.
const KEPT_PACKETS_MAX: usize = 15_000;
/// Additional memory for destinations with a delay, in bytes: five minutes of 7 Mbit/s, or one minute of 35 Mbit/s.
pub(crate) const DELAYED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Additional packets for destinations with a delay: the same number per second, for the longest delay. The overhead of
/// a packet also counts as bytes.
const DELAYED_PACKETS_MAX: usize = 30 * KEPT_PACKETS_MAX;
/// Packets that will soon be evicted are due at every delay; a seventh of the room is left for reading them.
const DUE_PACKETS: usize = (KEPT_PACKETS_MAX + DELAYED_PACKETS_MAX) / 7 * 6;
/// Age in ms at which cached chunks are dropped. Few destinations are that late, and those compute the chunks
/// themselves.
const CHUNKS_KEPT_MS: i64 = 500;
/// The newest packets of a broadcast.
#[derive(Debug, Default)]
pub struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    first: u64,
    /// The sequence number of the oldest entry that may hold cached chunks.
    fresh: u64,
    /// Memory of all entries without cached chunks, in bytes.
    bytes: usize,
    /// Memory for delayed packets that other streams use, in bytes.
    taken_room: usize,
    /// State after the newest packet.
    seen: Seen,
    /// State before the front entry.
    dropped: Seen,
    /// The oldest entry for readers without a delay.
    near: Mark,
    /// Entries before this mark are due at every delay.
    due: Mark,
    /// The longest delay to keep packets for, in ms; 0 for none.
    delay_ms: i64,
    /// Times of the first picture and the first audio frame.
    firsts: [Option<Timestamp>; 2],
    /// Media time since the beginning, in ms. Tracks may be apart, so each counts from its own first frame.
    media_ms: i64,
}

impl Ring {
    /// Appends a packet that arrived at `arrived_ms` (in ms since the broadcast began), and evicts packets beyond the
    /// bounds.
    pub fn push(&mut self, packet: Packet, arrived_ms: i64) {
        self.advance(&packet);
        let (platform, player) = Default::default();
        let (video_frames_before, media_ms) = (self.seen.video_frames, self.media_ms);
        let entry = Arc::new(Entry { packet, video_frames_before, arrived_ms, media_ms, platform, player });
        self.seen.add(&entry);
        for bytes in [&mut self.bytes, &mut self.near.bytes, &mut self.due.bytes] {
            *bytes += entry.held_bytes();
        }
        self.entries.push_back(entry);
        self.drop_old_chunks();
        self.evict();
        self.assert_invariants();
    }

    /// Positions and sums that eviction and readers rely on, as far as they can be checked in constant time.
    fn assert_invariants(&self) {
        debug_assert_eq!(self.dropped.end, self.first);
        debug_assert_eq!(self.first + self.entries.len() as u64, self.seen.end);
        debug_assert!(self.first <= self.near.at && self.near.at <= self.seen.end);
        debug_assert!(self.first <= self.due.at && self.due.at <= self.seen.end);
        debug_assert!(self.near.bytes <= self.bytes && self.due.bytes <= self.bytes);
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

    /// Memory used, in bytes, with cached chunks.
    pub fn held_bytes(&self) -> usize {
        let fresh = self.entries.range((self.fresh.max(self.first) - self.first) as usize..);
        let chunks: usize = fresh.map(|entry| entry.platform.held_bytes() + entry.player.held_bytes()).sum();
        self.bytes + chunks
    }

    /// Number of video frames so far.
    pub fn video_frames(&self) -> u64 {
        self.seen.video_frames
    }

    /// The newest headers.
    pub fn headers(&self) -> &Headers {
        &self.seen.headers
    }

    /// Arrival of the newest packet, in ms since the broadcast began.
    pub fn newest_ms(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.arrived_ms)
    }

    /// Arrival of the newest packet that arrived by `until_ms`.
    pub(crate) fn newest_ms_until(&self, until_ms: i64) -> Option<i64> {
        let arrived = (self.arrived_until(until_ms) - self.first) as usize;
        self.entries.get(arrived.checked_sub(1)?).map(|entry| entry.arrived_ms)
    }

    /// One past the sequence number of the newest packet that arrived by `until_ms`.
    pub(crate) fn arrived_until(&self, until_ms: i64) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.arrived_ms <= until_ms) as u64
    }

    /// One past the sequence number of the newest codec header that replaced another.
    pub(crate) fn changed(&self) -> u64 {
        self.seen.changed
    }

    /// The packets for a reader without a delay.
    pub(crate) fn newest(&self) -> Range<u64> {
        self.near.at..self.head()
    }

    /// The packet with that sequence number; `None` when it was evicted or has not arrived yet.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Whether the packet with that sequence number is too old for a reader without a delay.
    pub fn is_gone(&self, sequence: u64) -> bool {
        sequence < self.near.at
    }

    /// Sets the longest delay to keep packets for, in ms.
    pub(crate) fn keep_for(&mut self, delay_ms: i64) {
        let shorter = delay_ms < self.delay_ms;
        self.delay_ms = delay_ms;
        if shorter {
            self.evict();
            self.entries.shrink_to(2 * self.entries.len());
            self.assert_invariants();
        }
    }

    /// Sets the memory for delayed packets, in bytes.
    pub(crate) fn set_room(&mut self, bytes: usize) {
        self.taken_room = DELAYED_BYTES_MAX.saturating_sub(bytes);
    }

    fn bytes_max(&self) -> usize {
        KEPT_BYTES_MAX + DELAYED_BYTES_MAX - self.taken_room
    }

    /// Where a reader can start now, by the rules of [`window`].
    pub fn start(&mut self, waits_from: &mut Option<u64>) -> Option<Start> {
        let Self { entries, first, seen, near, .. } = self;
        Window { entries, first: *first, floor: near.at, seen }.start(waits_from)
    }

    /// Moves `moment` forward to everything that arrived by `until_ms`. Returns the arrival of the newest packet that
    /// is due early because its memory is needed.
    pub(crate) fn follow(&self, moment: &mut Moment, until_ms: i64) -> Option<i64> {
        if moment.seen.end < self.first {
            *moment = Moment { seen: self.dropped.clone(), floor: self.first };
        }
        let mut early_ms = None;
        while let Some(entry) = self.get(moment.seen.end) {
            if entry.arrived_ms > until_ms {
                if moment.seen.end >= self.due.at {
                    break;
                }
                early_ms = Some(entry.arrived_ms);
            }
            moment.seen.add(entry);
        }
        moment.floor = moment.floor.max(self.first);
        while moment.floor + 1 < moment.seen.end
            && self.get(moment.floor).is_some_and(|oldest| moment.span_ms(oldest) > KEPT_MS_MAX)
        {
            moment.floor += 1;
        }
        debug_assert!(self.first <= moment.floor && moment.floor <= moment.seen.end.max(self.first));
        debug_assert!(moment.seen.end <= self.head());
        early_ms
    }

    /// Where a reader at `moment` can start, by the same rules.
    pub(crate) fn start_at(&self, moment: &mut Moment, waits_from: &mut Option<u64>) -> Option<Start> {
        let Self { entries, first, .. } = self;
        let Moment { seen, floor } = moment;
        Window { entries, first: *first, floor: *floor, seen }.start(waits_from)
    }

    /// A start at the packet with that sequence number.
    pub(crate) fn start_with(&self, sequence: u64) -> Option<Start> {
        let entry = self.get(sequence)?;
        let mut seen = self.dropped.clone();
        for before in self.entries.range(..(sequence - self.first) as usize) {
            seen.add(before);
        }
        let (headers, video_frames_before, earliest) = (seen.headers, entry.video_frames_before, entry.packet.dts);
        Some(Start { sequence, headers, video_frames_before, earliest, reason: StartReason::Keyframe })
    }

    /// Where a reader that changes its delay continues: at the first keyframe that arrived at `from_ms` or later, is
    /// due by `until_ms`, and is not before `changed`. Without video an audio frame is enough; without a keyframe for
    /// ten seconds, any picture.
    pub(crate) fn switch_point(&self, from_ms: i64, until_ms: i64, changed: u64) -> Option<u64> {
        let arrived = self.entries.partition_point(|entry| entry.arrived_ms < from_ms) as u64;
        let from = (self.first + arrived).max(changed).max(self.first);
        let is_due = |&(sequence, entry): &(u64, &Arc<Entry>)| entry.arrived_ms <= until_ms || sequence < self.due.at;
        let due = || (from..).map_while(|sequence| Some((sequence, self.get(sequence)?))).take_while(is_due);
        let is = |kind| move |&(_, entry): &(u64, &Arc<Entry>)| entry.packet.kind == kind;
        if let Some((keyframe, _)) = due().find(is(PacketKind::Keyframe)) {
            return Some(keyframe);
        }
        if !self.seen.has_video {
            return due().find(is(PacketKind::Audio)).map(|(sequence, _)| sequence);
        }
        let (_, oldest) = due().next()?;
        let late = |&(_, entry): &(u64, &Arc<Entry>)| entry.arrived_ms - oldest.arrived_ms >= KEPT_MS_MAX;
        due().filter(late).find(is(PacketKind::InterFrame)).map(|(sequence, _)| sequence)
    }

    /// How far media times before `until_ms` (arrival) reach past the media times from packet `sequence` on, in ms: the
    /// larger value of both tracks.
    pub(crate) fn overlap_ms(&self, until_ms: i64, sequence: u64) -> Option<i64> {
        let arrived = (self.arrived_until(until_ms) - self.first) as usize;
        let next = (sequence.checked_sub(self.first)? as usize).min(self.entries.len());
        let is_near = |entry: &&Arc<Entry>| until_ms - entry.arrived_ms <= KEPT_MS_MAX;
        let overlap = |is_of_track: fn(PacketKind) -> bool| {
            let before =
                self.entries.range(..arrived).rev().take_while(is_near).find(|e| is_of_track(e.packet.kind))?;
            let after = self.entries.range(next..).find(|entry| is_of_track(entry.packet.kind))?;
            Some(before.packet.dts.ms_since(after.packet.dts))
        };
        overlap(PacketKind::is_picture).max(overlap(|kind| kind == PacketKind::Audio))
    }

    fn drop_old_chunks(&mut self) {
        self.fresh = self.fresh.max(self.first);
        let Some(newest_ms) = self.newest_ms() else { return };
        while let Some(entry) = self.entries.get_mut((self.fresh - self.first) as usize) {
            if newest_ms - entry.arrived_ms < CHUNKS_KEPT_MS {
                return;
            }
            *entry = Arc::new(entry.bare());
            self.fresh += 1;
        }
    }

    fn evict(&mut self) {
        let Some((now_ms, media_ms)) = self.entries.back().map(|back| (back.arrived_ms, back.media_ms)) else { return };
        self.near.advance(&self.entries, self.first, |oldest, bytes, packets| {
            let spans = (now_ms - oldest.arrived_ms).max(media_ms - oldest.media_ms);
            spans <= KEPT_MS_MAX && bytes <= KEPT_BYTES_MAX && packets <= KEPT_PACKETS_MAX
        });
        let bytes_max = self.bytes_max();
        let due_bytes = bytes_max / 7 * 6;
        self.due
            .advance(&self.entries, self.first, |_, bytes, packets| bytes <= due_bytes && packets <= DUE_PACKETS);
        while self.first < self.near.at {
            let Some(front) = self.entries.front() else { return };
            let is_wanted = self.delay_ms > 0 && now_ms - front.arrived_ms <= self.delay_ms + KEPT_MS_MAX;
            let fits = self.bytes <= bytes_max && self.entries.len() <= KEPT_PACKETS_MAX + DELAYED_PACKETS_MAX;
            if is_wanted && fits {
                return;
            }
            self.bytes -= front.held_bytes();
            if self.due.at == self.first {
                self.due.at += 1;
                self.due.bytes -= front.held_bytes();
            }
            self.dropped.add(front);
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
