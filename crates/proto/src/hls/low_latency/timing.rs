//! Part durations.

/// A part ends before the first packet from here on, in ms: half a second, less the error of rounding to milliseconds.
pub(super) const PART_MS: i64 = 495;
/// The announced part target, in ms; no part is longer. It exceeds `PART_MS` by a frame at 20 fps.
pub(super) const PART_TARGET_MS: i64 = 550;
/// The longest step in a stream with parts, in ms. The end of a part is known only one step after it is due, and a new
/// part must be published within one part target of the last (section 6.2.1).
pub(super) const PART_GAP_MAX_MS: i64 = PART_TARGET_MS / 2;
