//! RTMP, both ends, without I/O (Adobe RTMP 1.0, 2012, and Enhanced RTMP v2).
//!
//! Bytes go in, events and bytes come out. [`server::ServerSession`] is the end that encoders and players connect to;
//! [`client::ClientSession`] is the end that pushes to a platform or pulls from a server. Below them are [`handshake`],
//! [`chunk`] streams, [`message`]s and [`amf0`] values. [`url`] and [`key`] parse user input.

pub mod amf0;
pub mod auth;
pub mod chunk;
pub mod client;
pub mod command;
pub mod handshake;
pub mod key;
mod link;
pub mod media;
pub mod message;
pub mod outbox;
pub mod server;
pub mod url;

pub use link::WINDOW_ACK_BYTES;

#[cfg(test)]
mod tests;
