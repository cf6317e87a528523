//! The bytes of live streaming: RTMP, FLV, codec headers, MPEG-TS, fragmented MP4, playlists, and the hooks of
//! nginx-rtmp.
//!
//! Everything here is pure: bytes and values go in, bytes and values come out. This crate has no sockets, no clock, no
//! tasks and no source of randomness; callers provide time and random bytes. Input from the network never panics and
//! never allocates more than [`limits`] allow.

pub mod codec;
pub mod flv;
pub mod fmp4;
pub mod hls;
pub mod hook;
pub mod limits;
pub mod packet;
pub mod rtmp;
pub mod time;
pub mod track;
pub mod ts;
