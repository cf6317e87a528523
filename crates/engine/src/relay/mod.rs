//! A relay: the running task that sends one broadcast to one destination.
//!
//! [`state`] decides, [`task`] obeys. [`dial`] makes connections, [`session`] is one connection from the first byte to the
//! last, [`error`] names what can go wrong, [`backoff`] says how long to wait, [`probe`] tries a destination out
//! before the show. A relay cannot slow, stop or see the ingest.

pub mod backoff;
pub mod dial;
pub mod error;
pub mod probe;
pub mod session;
pub mod state;
pub mod task;
pub mod wire;
