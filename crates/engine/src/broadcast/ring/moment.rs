//! A broadcast as it was some time ago: the view of a reader with a delay.

use std::ops::Range;

use super::{entry::Entry, seen::Seen};

/// State of the ring at an earlier time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    pub(super) seen: Seen,
    /// The oldest packet to read. As without a delay, ten seconds are kept for slow readers.
    pub(super) floor: u64,
}

impl Moment {
    /// The packets that can be read.
    pub(crate) fn packets(&self) -> Range<u64> {
        self.floor..self.seen.end
    }

    /// One past the sequence number of the newest codec header that replaced another.
    pub(crate) fn changed(&self) -> u64 {
        self.seen.changed
    }

    /// Time from that packet to the newest in ms, by arrival or by media time, whichever is longer.
    pub(super) fn span_ms(&self, oldest: &Entry) -> i64 {
        let newest_ms = self.seen.newest_ms.unwrap_or(oldest.arrived_ms);
        (newest_ms - oldest.arrived_ms).max(self.seen.media_ms - oldest.media_ms)
    }
}
