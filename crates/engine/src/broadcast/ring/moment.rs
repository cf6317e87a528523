//! A broadcast as it was some time ago: what a reader with a delay sees.

use std::ops::Range;

use super::{entry::Entry, seen::Seen};

/// Follows the ring at a distance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    pub(super) seen: Seen,
    /// The oldest packet that a reader can read then: as without a delay, ten seconds are kept for those that are slow.
    pub(super) floor: u64,
}

impl Moment {
    /// The packets that can be read then.
    pub(crate) fn packets(&self) -> Range<u64> {
        self.floor..self.seen.end
    }

    /// The number after the newest codec header that replaced another.
    pub(crate) fn changed(&self) -> u64 {
        self.seen.changed
    }

    /// From that packet to the newest, by arrival or by media time, whichever is more.
    pub(super) fn span_ms(&self, oldest: &Entry) -> i64 {
        let newest_ms = self.seen.newest_ms.unwrap_or(oldest.arrived_ms);
        (newest_ms - oldest.arrived_ms).max(self.seen.media_ms - oldest.media_ms)
    }
}
