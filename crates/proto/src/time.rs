//! Media time: the one clock of packets.
//!
//! RTMP carries 32-bit millisecond timestamps that wrap after 49.7 days and that restart whenever an encoder does.
//! Inside the server a [`Timestamp`] never wraps and never jumps: the [`Clock`] of a broadcast undoes both where packets
//! come in.

mod clock;
mod elementary;
mod healing;
mod timestamp;

pub use clock::{Clock, Findings, REORDER_MS};
pub use elementary::Elementary;
pub use timestamp::Timestamp;
