//! Tools of sockets that the engine and the HTTP server share: how a listener binds, how many connections it holds, which addresses a
//! name has, which of them may be connected to, and which TLS certificates are trusted.
//!
//! It knows no protocol above TCP but the header of a PROXY protocol.

pub mod congestion;
pub mod connection_limiter;
pub mod proxy;

mod bind;
mod egress;
mod own;
mod resolve;
mod resolver;
mod roots;

pub use self::{
    bind::listen,
    congestion::{congestion_control, prefer_bbr},
    egress::{Egress, Forbidden},
    own::OwnAddresses,
    resolve::{BoxFuture, Resolve},
    resolver::SystemResolver,
    roots::roots,
};
