//! RTMP over sockets, what inputs and outputs share of it.
//!
//! [`dial`] makes connections, [`connect`] talks until a server accepts, `steps` says how far it got, [`wire`] carries the bytes, [`error`] names what can go
//! wrong, [`certificate`] what is wrong with a certificate, `mtu` whether large packets arrive. [`connection`] is one that was accepted,
//! [`paced`] its socket. [`feed`] turns what was read from a broadcast into media of one connection.

pub mod certificate;
pub mod connect;
pub(crate) mod connection;
pub mod dial;
pub mod error;
pub mod feed;
mod mtu;
pub(crate) mod origin;
pub(crate) mod paced;
pub(crate) mod steps;
pub mod wire;
