//! MPEG-TS (ISO 13818-1) for HLS segments: H.264 with AAC or MP3.

mod clock;
mod mux;
mod packetizer;
mod pes;
mod tables;
mod track;

pub use mux::{State, advance, mux};
pub use track::{Audio, Tracks};
