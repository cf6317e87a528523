//! Outputs: the readers of a broadcast. A relay sends it to another server, `rtmp_play` to a player, and [`hls`] keeps
//! its newest seconds for browsers.
//!
//! An output that stores or packages packets is a [`sink::Sink`], which the supervisor starts. An output that sends to
//! a server has connections, each a `relay::session::Session`; [`relay`] decides when to connect and when to give up.

pub mod hls;
pub(crate) mod relay;
pub(crate) mod rtmp_play;
pub(crate) mod sink;
