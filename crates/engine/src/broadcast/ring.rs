//! The ring: the newest packets of a broadcast, bounded by time and bytes.
//!
//! Readers without a delay see the newest ten seconds. Where a destination has a delay, older packets are kept for it: the same
//! ring, read at an older [`Moment`].
//!
//! Packets have sequence numbers that never repeat. A reader holds the number of the packet it wants next; when that one
//! is gone, the reader was too slow and starts again. Where a reader starts, and why a slow destination skipped, is decided
//! in [`window`] and nowhere else.

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
    start::{Start, Why},
};
use self::{mark::Mark, seen::Seen, window::Window};

/// How much is kept, by arrival and by media time: a destination that is further behind would show its viewers old pictures.
const KEPT_MS_MAX: i64 = 10_000;
/// Memory that is kept: 10 s of 50 Mbit/s.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many packets are kept: 10 s of what a publisher may send, and half as much again.
const KEPT_PACKETS_MAX: usize = 15_000;
/// Memory that is kept besides for destinations with a delay: five minutes of 7 Mbit/s, or one of 35.
pub(crate) const DELAYED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Packets that are kept besides for them: the same number a second, for the longest delay. Their own cost counts as bytes, too.
const DELAYED_PACKETS_MAX: usize = 30 * KEPT_PACKETS_MAX;
/// Packets that will soon be dropped for want of room are due at every delay: a seventh of the room is left to read them in.
const DUE_PACKETS: usize = (KEPT_PACKETS_MAX + DELAYED_PACKETS_MAX) / 7 * 6;
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
    /// Memory for readers with a delay that others have.
    taken_room: usize,
    /// All that came.
    seen: Seen,
    /// All that came before the front entry.
    dropped: Seen,
    /// The oldest entry for readers without a delay.
    near: Mark,
    /// Entries before this one are due at every delay.
    due: Mark,
    /// The longest delay that is kept for, in ms; 0 without any.
    delay_ms: i64,
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
        for bytes in [&mut self.bytes, &mut self.near.bytes, &mut self.due.bytes] {
            *bytes += entry.held_bytes();
        }
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

    /// When the newest packet came that came until `until_ms`.
    pub(crate) fn newest_ms_until(&self, until_ms: i64) -> Option<i64> {
        let came = (self.came_until(until_ms) - self.first) as usize;
        self.entries.get(came.checked_sub(1)?).map(|entry| entry.arrived_ms)
    }

    /// One past the number of the newest packet that came until `until_ms`.
    pub(crate) fn came_until(&self, until_ms: i64) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.arrived_ms <= until_ms) as u64
    }

    /// The number after the newest codec header that replaced another.
    pub(crate) fn changed(&self) -> u64 {
        self.seen.changed
    }

    /// The packets that a reader without a delay can read.
    pub(crate) fn newest(&self) -> Range<u64> {
        self.near.at..self.head()
    }

    /// The packet of that number; `None` when it is gone or has not come yet.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Whether the packet of that number is too old for a reader without a delay.
    pub fn is_gone(&self, sequence: u64) -> bool {
        sequence < self.near.at
    }

    /// Packets are kept for readers with a delay of up to `delay_ms`, and no longer.
    pub(crate) fn keep_for(&mut self, delay_ms: i64) {
        let shorter = delay_ms < self.delay_ms;
        self.delay_ms = delay_ms;
        if shorter {
            self.evict();
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Of the memory for readers with a delay, no more than this may be taken from now on.
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

    /// Brings `moment` up to all that came until `until_ms`. Gives the arrival of the newest packet that is due before that because
    /// there is no more room for it.
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
        early_ms
    }

    /// Where a reader at `moment` can start, by the same rules.
    pub(crate) fn start_at(&self, moment: &mut Moment, waits_from: &mut Option<u64>) -> Option<Start> {
        let Self { entries, first, .. } = self;
        let Moment { seen, floor } = moment;
        Window { entries, first: *first, floor: *floor, seen }.start(waits_from)
    }

    /// A start at the packet of that number.
    pub(crate) fn start_with(&self, sequence: u64) -> Option<Start> {
        let entry = self.get(sequence)?;
        let mut seen = self.dropped.clone();
        for before in self.entries.range(..(sequence - self.first) as usize) {
            seen.add(before);
        }
        let (headers, video_frames_before, earliest) = (seen.headers, entry.video_frames_before, entry.packet.dts);
        Some(Start { sequence, headers, video_frames_before, earliest, why: Why::Keyframe })
    }

    /// Where a reader goes on that changes to another delay: at the first keyframe that came at `from_ms` or later, is due by
    /// `until_ms` and is not before `changed`. Sound alone will do where there is no video, and any picture where ten seconds
    /// have no keyframe.
    pub(crate) fn turn(&self, from_ms: i64, until_ms: i64, changed: u64) -> Option<u64> {
        let came = self.entries.partition_point(|entry| entry.arrived_ms < from_ms) as u64;
        let from = (self.first + came).max(changed).max(self.first);
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

    /// How far the times of what came until `until_ms` reach past the times from that packet on, in ms: the most of both tracks.
    pub(crate) fn overlap_ms(&self, until_ms: i64, sequence: u64) -> Option<i64> {
        let came = (self.came_until(until_ms) - self.first) as usize;
        let next = (sequence.checked_sub(self.first)? as usize).min(self.entries.len());
        let is_near = |entry: &&Arc<Entry>| until_ms - entry.arrived_ms <= KEPT_MS_MAX;
        let overlap = |is_of_track: fn(PacketKind) -> bool| {
            let before = self.entries.range(..came).rev().take_while(is_near).find(|e| is_of_track(e.packet.kind))?;
            let after = self.entries.range(next..).find(|entry| is_of_track(entry.packet.kind))?;
            Some(before.packet.dts.ms_since(after.packet.dts))
        };
        overlap(PacketKind::is_picture).max(overlap(|kind| kind == PacketKind::Audio))
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
