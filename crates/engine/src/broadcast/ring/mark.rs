//! A mark in the ring: the oldest packet within some bounds.

use std::{collections::VecDeque, sync::Arc};

use super::entry::Entry;

/// Moves forward only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// Sequence number of the packet.
    pub(super) at: u64,
    /// Memory of this packet and all later ones, in bytes.
    pub(super) bytes: usize,
}

impl Mark {
    /// Moves forward to the first packet that `fits`, which gets the packet, and the bytes and the number of the
    /// packets from it on. The newest packet always fits.
    pub(super) fn advance(
        &mut self,
        entries: &VecDeque<Arc<Entry>>,
        first: u64,
        fits: impl Fn(&Entry, usize, usize) -> bool,
    ) {
        let head = first + entries.len() as u64;
        while self.at + 1 < head {
            // Packets from the mark on are never evicted.
            let Some(oldest) = self.at.checked_sub(first).and_then(|behind| entries.get(behind as usize)) else {
                return;
            };
            if fits(oldest, self.bytes, (head - self.at) as usize) {
                return;
            }
            self.bytes -= oldest.held_bytes();
            self.at += 1;
        }
    }
}
