//! A relay: the running task that sends one broadcast to one destination.
//!
//! [`state`] decides, [`task`] obeys. [`dial`] makes connections, [`opening`] talks until the platform says yes, [`session`]
//! is one connection from there to the last byte, `behind` says whether it falls behind, [`way`] why, `mtu` whether large packets arrive, [`error`] names what can go wrong, [`certificate`] what is wrong with a
//! certificate, [`backoff`] says how long to wait, [`probe`] tries a destination out before the show. A relay cannot slow,
//! stop or see the ingest.

pub mod backoff;
mod behind;
pub mod certificate;
pub(crate) mod counters;
pub mod dial;
pub mod error;
mod mtu;
pub mod opening;
pub mod probe;
pub mod session;
pub(crate) mod starts;
pub mod state;
pub mod task;
pub mod way;
pub mod wire;
