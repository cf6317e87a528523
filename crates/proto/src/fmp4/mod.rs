//! Fragmented MP4 (ISO 14496-12) for low-latency HLS: H.264, H.265 or AV1 with AAC or Opus in one file.
//!
//! An init segment ([`init`]) describes the [`Tracks`]; a [`Fragment`] is a `moof` of our own before the bytes of the
//! packets, which are not copied. The boxes are written here and not by a crate: the codec headers go in exactly as the
//! encoder sent them, and those that exist bring logging into a crate that must not have any.

mod boxes;
mod clock;
mod fragment;
mod init;
mod track;

pub(crate) use clock::audio_ticks;
pub use clock::{AudioClock, Picture, VideoClock};
pub use fragment::{Fragment, Sample};
pub use init::init;
pub use track::{Audio, Tracks, Video};

/// Ticks per millisecond of video: the clock of MPEG, 90 kHz.
pub const VIDEO_TICKS_PER_MS: i64 = 90;
/// Added to every time, so that a stream may begin a little before 0; as much as in MPEG-TS.
pub const OFFSET_MS: i64 = 1_400;

/// The tracks' numbers in the file.
const VIDEO_TRACK: u32 = 1;
const AUDIO_TRACK: u32 = 2;

/// sample_flags (ISO 14496-12 section 8.8.3.1) of a sample that depends on no other.
const SYNC: u32 = 0x0200_0000;
/// sample_flags of one that depends on others: sample_depends_on 1, sample_is_non_sync_sample.
const NON_SYNC: u32 = 0x0101_0000;

#[cfg(test)]
mod tests;
