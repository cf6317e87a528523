//! RTMP over sockets: what inputs and outputs share.
//!
//! [`dial`] makes connections, [`connect`] negotiates until a server accepts (`steps` measures how far it got), and
//! [`transport`] carries the bytes. [`error`] lists the failures, [`certificate`] those of certificates; `mtu` detects
//! lost large packets. [`connection`] is an accepted connection, [`paced`] its socket. [`feed`] turns packets of a
//! broadcast into media of one connection.

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
pub mod transport;
