//! HLS (RFC 8216): cuts a broadcast into segments and lists them.

mod conform;
mod cut;
pub mod low_latency;
pub mod playlist;
pub mod segmenter;
pub mod window;

pub use conform::Conformer;
pub use low_latency::LowLatencyStream;
pub use segmenter::{Segment, Segmenter};
pub use window::Window;
