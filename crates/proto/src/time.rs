//! Media time: the clock of packets.
//!
//! RTMP has 32-bit millisecond timestamps, which wrap after 49.7 days and restart with the encoder. A [`Timestamp`]
//! never wraps and never jumps: the [`Clock`] of a broadcast removes both when packets arrive.

mod clock;
mod drift;
mod main_track;
mod timestamp;

pub use clock::{Clock, Findings, REORDER_MS};
pub use main_track::MainTrack;
pub use timestamp::Timestamp;
