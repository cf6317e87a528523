//! The state of one stream: takes packets and decides what is listed.

use super::{
    packager::{Open, Packager, Unsupported},
    segment::Segment,
    timing::PART_GAP_MAX_MS,
    window::Window,
};
use crate::{packet::Packet, time::Timestamp};

/// Parts further from the end than this many target durations are no longer listed (section 6.2.2).
const PART_TARGETS: u64 = 3;

/// The low-latency completed of one stream.
#[derive(Debug, Default)]
pub struct LowLatencyStream {
    pub(super) packager: Packager,
    pub(super) window: Window,
    /// Whether parts are listed; decided by the first segment.
    pub(super) parts: bool,
    /// The first segment whose parts are still listed. Removed parts are not listed again when the target duration
    /// grows.
    pub(super) parts_from: u64,
    pub(super) ended: bool,
}

impl LowLatencyStream {
    /// A stream whose files are numbered from `first`. Caches keep files forever, so a number must not be reused at the
    /// same URL: a stream that replaces another continues its numbers.
    pub fn numbered_from(first: u64) -> Self {
        Self { packager: Packager::numbered_from(first), ..Self::default() }
    }

    /// Takes the next packet, which arrived at `wall_ms` (ms since 1970); codec headers come first. Returns whether the
    /// listing changed.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64) -> bool {
        if self.ended {
            return false;
        }
        let completed = self.packager.push(packet, wall_ms);
        let listed = completed.segment.is_some() || completed.part && self.parts;
        self.take(completed.segment);
        if listed {
            self.unlist_parts();
        }
        listed
    }

    /// Lets the next segment begin with a picture that needs earlier ones, when no keyframe is expected.
    pub fn begin_anywhere(&mut self) {
        self.packager.anywhere = true;
    }

    /// Ends the stream: the open segment is listed, and nothing follows.
    pub fn finish(&mut self) {
        /// Assumed duration of the newest packet, in ms: one frame at 30 fps.
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

    /// Whether the stream has ended.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// Codecs of the stream that are left out.
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

    /// Listed duration of the open segment, in ms.
    pub(super) fn open_ms(&self) -> u64 {
        self.open_parts().map_or(0, |open| open.parts.iter().map(|part| u64::from(part.duration_ms)).sum())
    }

    /// The open segment, if its parts are listed.
    pub(super) fn open_parts(&self) -> Option<&Open> {
        self.packager.open.as_ref().filter(|open| self.parts && !open.parts.is_empty())
    }

    /// Segment and part number of the next part. A part only ends when another packet of its segment exists, so the
    /// hinted part always follows unless the stream ends.
    pub(super) fn hint(&self) -> Option<(u64, u64)> {
        let parts = self.packager.open.as_ref().map_or(0, |open| open.parts.len());
        (self.parts && !self.ended).then_some((self.packager.next_sequence, parts as u64))
    }

    /// The newest segment of which at least a part is listed.
    pub(super) fn newest_msn(&self, last: u64) -> u64 {
        if self.open_parts().is_some() { self.packager.next_sequence } else { last }
    }
}
