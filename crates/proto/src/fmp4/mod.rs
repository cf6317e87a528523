//! Fragmented MP4 (ISO 14496-12) for low-latency HLS: H.264, H.265 or AV1 with AAC or Opus in one file.
//!
//! An init segment ([`init`]) describes the [`Tracks`]. A [`Fragment`] is a `moof` box before the payloads of the
//! packets, which are not copied. The boxes are written here instead of by a crate for two reasons: the codec headers
//! must be written exactly as the encoder sent them, and existing crates depend on logging, which this crate must not.

mod boxes;
mod clock;
mod fragment;
mod init;
mod sample;
mod track;

pub(crate) use clock::audio_ticks;
pub use clock::{AudioClock, OFFSET_MS, PendingPicture, VIDEO_TICKS_PER_MS, VideoClock};
pub use fragment::Fragment;
pub use init::init;
pub use sample::Sample;
pub use track::{Audio, Tracks, Video};

#[cfg(test)]
mod tests;
