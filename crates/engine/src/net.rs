//! Addresses: how names become some, which of them relays may reach, and how a listener binds; and whom TLS connections out
//! of here trust.

pub use self::{
    bind::listen,
    congestion::{congestion_control, prefer_bbr},
    egress::{Egress, Forbidden},
    own::OwnAddresses,
    resolve::{BoxFuture, Resolve},
    resolver::SystemResolver,
    roots::roots,
};

mod bind;
pub(crate) mod congestion;
mod egress;
mod own;
pub mod proxy;
mod resolve;
mod resolver;
mod roots;
