//! Where segments end: one set of rules for every form that a broadcast is cut into, so that all of them cut alike.

use crate::{packet::Packet, time::Timestamp};

/// A segment ends at the first keyframe from here on.
const TARGET_MS: i64 = 2_000;
/// Keyframe intervals of 2 s come out a little short in milliseconds.
const TOLERANCE_MS: i64 = 100;
/// Without any keyframe a segment ends here all the same.
const LONGEST_MS: i64 = 10_000;
/// Audio may arrive ahead of the video that belongs to it, so it waits that long for a keyframe to end the segment.
const AUDIO_AHEAD_MS: i64 = 1_000;
/// A segment ends at this size whatever its times say: 50 Mbit/s for 5 s, with some room.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Nothing for longer than this is a hole in the stream (the encoder was away), not a slow picture: two segments' worth.
const HOLE_MS: i64 = 2 * TARGET_MS;
/// How long the last frame before a hole is taken to last: one at 30 fps, rounded.
pub(super) const FRAME_MS: i64 = 33;

/// Why the open segment ends before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The packet is where decoding can start.
    Boundary,
    /// The segment became too long or too large; the packet goes on in the middle of a GOP.
    Forced,
    /// Nothing came for a while.
    Hole,
}

/// How far the open segment reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The time of its first packet.
    pub(super) start: Timestamp,
    /// The newest time in it.
    pub(super) newest: Timestamp,
    /// Memory that its packets take.
    bytes: usize,
}

impl From<Timestamp> for Span {
    fn from(start: Timestamp) -> Self {
        Self { start, newest: start, bytes: 0 }
    }
}

impl Span {
    /// The packet goes into the segment.
    pub(super) fn take(&mut self, packet: &Packet) {
        self.newest = self.newest.max(packet.dts);
        // Empty packets take memory, too.
        self.bytes += packet.body.len() + size_of::<Packet>();
    }

    /// Whether the segment ends before the packet. `begins`: a segment can begin with it; `changed`: the tracks that it
    /// belongs to are no longer those of the segment.
    pub(super) fn cut_before(&self, packet: &Packet, begins: bool, changed: bool) -> Option<Cut> {
        let length = packet.dts.ms_since(self.start);
        let longest = if packet.kind.is_audio() { LONGEST_MS + AUDIO_AHEAD_MS } else { LONGEST_MS };
        if packet.dts.ms_since(self.newest) > HOLE_MS {
            Some(Cut::Hole)
        } else if begins && (length >= TARGET_MS - TOLERANCE_MS || changed) {
            Some(Cut::Boundary)
        } else if length > longest || self.bytes >= BYTES_MAX {
            Some(Cut::Forced)
        } else {
            None
        }
    }
}
