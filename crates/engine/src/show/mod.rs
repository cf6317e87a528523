//! A live project (a show): one broadcast, the seat of its publisher, and the outputs that read it.

pub(crate) mod cooldown;
pub(crate) mod delay_room;
pub(crate) mod live;
mod plan;
pub(crate) mod rate_limit;
pub(crate) mod registry;
mod revoked;
mod running;
pub(crate) mod seat;
pub(crate) mod shared;
pub(crate) mod starts;
pub(crate) mod supervisor;
pub(crate) mod uplink;
pub(crate) mod writer;

#[cfg(test)]
pub(crate) mod tests;
