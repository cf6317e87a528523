//! A mark in the ring: the oldest packet within some bounds.

use std::{collections::VecDeque, sync::Arc};

use super::entry::Entry;

/// Only goes forward.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The number of the packet.
    pub(super) at: u64,
    /// Memory of that packet and of all after it.
    pub(super) bytes: usize,
}

impl Mark {
    /// Goes on until the packet at the mark `fits`, which is asked with the memory and the number of the packets from there on.
    /// The newest packet always does.
    pub(super) fn advance(
        &mut self,
        entries: &VecDeque<Arc<Entry>>,
        first: u64,
        fits: impl Fn(&Entry, usize, usize) -> bool,
    ) {
        let head = first + entries.len() as u64;
        while self.at + 1 < head {
            // Marked packets are never dropped.
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
