//! A relay: the running task that sends one broadcast to one destination.
//!
//! [`state`] decides, [`task`] obeys. [`session`] is one connection from the permission to publish to the last byte, `behind` says
//! whether it falls behind, [`way`] why; [`probe`] tries a destination out before the show. A relay cannot slow, stop or see the
//! inputs.

mod behind;
pub(crate) mod context;
pub(crate) mod counters;
pub mod probe;
pub mod session;
pub(crate) mod starts;
pub mod state;
pub mod task;
pub mod way;
