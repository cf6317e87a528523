//! How long parts last.

/// A part ends before the first packet from here on: half a second, less what rounding to milliseconds takes away.
pub(super) const PART_MS: i64 = 495;
/// What the playlist announces, and no part is longer: a picture at 20 fps more than `PART_MS`.
pub(super) const PART_TARGET_MS: i64 = 550;
/// The longest step in a stream with parts: a part is known one step after it began to be overdue, and a new one must come
/// within a part target of the last (section 6.2.1).
pub(super) const PART_GAP_MAX_MS: i64 = PART_TARGET_MS / 2;
