//! Outputs: the readers of a broadcast. A relay sends it to another server, `rtmp_play` to a player, and [`hls`] keeps its newest
//! seconds for browsers.
//!
//! An output that keeps or packages what it reads is a [`sink::Sink`]; the supervisor starts it. One that sends the stream to a
//! server has a connection, which is a `relay::session::Session`; [`relay`] decides when to connect and when to give up.

pub mod hls;
pub(crate) mod relay;
pub(crate) mod rtmp_play;
pub(crate) mod sink;
