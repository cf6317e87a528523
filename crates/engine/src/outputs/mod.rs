//! Who reads a broadcast: relays to other servers, players by RTMP, and HLS.

pub mod hls;
pub(crate) mod relay;
pub(crate) mod rtmp_play;
