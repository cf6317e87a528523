//! The state of one stream: packets go in, and what is listed comes of them.

use super::{
    packager::{Open, Packager, Unsupported},
    segment::Segment,
    timing::PART_GAP_MAX_MS,
    window::Window,
};
use crate::{packet::Packet, time::Timestamp};

/// Parts further from the end than this many target durations are no longer listed (section 6.2.2).
const PART_TARGETS: u64 = 3;

/// The low-latency output of one stream.
#[derive(Debug, Default)]
pub struct Live {
    pub(super) packager: Packager,
    pub(super) window: Window,
    /// Whether parts are listed, once the first segment has told.
    pub(super) parts: bool,
    /// The first segment whose parts are still listed; those that went do not come back when the target duration grows.
    pub(super) parts_from: u64,
    pub(super) ended: bool,
}

impl Live {
    /// An output that numbers its files from `first` on. Caches keep files for good, so a number must never come back under
    /// the same address: a stream that follows another one begins behind its last.
    pub fn numbered_from(first: u64) -> Self {
        Self { packager: Packager::numbered_from(first), ..Self::default() }
    }

    /// Takes the next packet, which came at `wall_ms` (ms since 1970); codec headers first. Says whether something new is
    /// listed.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64) -> bool {
        if self.ended {
            return false;
        }
        let output = self.packager.push(packet, wall_ms);
        let listed = output.segment.is_some() || output.part && self.parts;
        self.take(output.segment);
        if listed {
            self.unlist_parts();
        }
        listed
    }

    /// The next segment may begin with a picture that needs earlier ones: nothing better comes.
    pub fn begin_anywhere(&mut self) {
        self.packager.anywhere = true;
    }

    /// The stream is over: what is open is listed, and nothing follows.
    pub fn finish(&mut self) {
        /// How long the newest packet lasts: one frame at 30 fps.
        const FRAME_MS: i64 = 33;
        let end = self.packager.newest().map_or(Timestamp::ZERO, |newest| newest + FRAME_MS);
        let segment = self.packager.finish(end);
        self.take(segment);
        self.unlist_parts();
        self.ended = true;
    }

    /// Whether there is a playlist.
    pub fn is_ready(&self) -> bool {
        self.window.last().is_some()
    }

    /// Whether the stream is over and nothing follows.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// What the stream has that is left out.
    pub fn unsupported(&self) -> Unsupported {
        self.packager.unsupported
    }

    /// Memory of finished segments, in bytes; most of it is shared with the packets.
    pub fn held_bytes(&self) -> usize {
        self.window.held_bytes()
    }

    fn take(&mut self, segment: Option<Segment>) {
        let Some(segment) = segment else { return };
        if self.window.last().is_none() {
            self.parts = segment.gap_max_ms <= PART_GAP_MAX_MS;
            self.packager.cutter.prompt = self.parts;
        }
        self.window.push(segment);
    }

    fn unlist_parts(&mut self) {
        let listed_ms = PART_TARGETS * self.window.target_s * 1_000;
        let mut behind_ms = self.open_ms();
        for segment in self.window.listed().rev() {
            behind_ms += u64::from(segment.duration_ms);
            if behind_ms > listed_ms {
                self.parts_from = self.parts_from.max(segment.sequence + 1);
                break;
            }
        }
    }

    /// How much of the open segment is listed.
    pub(super) fn open_ms(&self) -> u64 {
        self.open_parts().map_or(0, |open| open.parts.iter().map(|part| u64::from(part.duration_ms)).sum())
    }

    /// Parts of the open segment that are listed.
    pub(super) fn open_parts(&self) -> Option<&Open> {
        self.packager.open.as_ref().filter(|open| self.parts && !open.parts.is_empty())
    }

    /// The part that comes next. A part never ends without something that goes into another one of its segment, so this
    /// one is sure to come unless the stream ends.
    pub(super) fn hint(&self) -> Option<(u64, u64)> {
        let parts = self.packager.open.as_ref().map_or(0, |open| open.parts.len());
        (self.parts && !self.ended).then_some((self.packager.next_sequence, parts as u64))
    }

    /// The newest segment of which anything is listed.
    pub(super) fn newest_msn(&self, last: u64) -> u64 {
        if self.open_parts().is_some() { self.packager.next_sequence } else { last }
    }
}
