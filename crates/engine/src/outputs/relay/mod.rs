//! A relay: the running task that sends one broadcast to one destination.
//!
//! [`state`] decides, [`task`] carries it out. [`session`] is what a connection of any protocol does, [`rtmp`] does it by RTMP. `behind` says
//! whether a connection falls behind, [`way`] why; [`probe`] tries a destination out before the show. A relay cannot slow, stop or see the
//! inputs.

mod behind;
pub(crate) mod context;
pub(crate) mod counters;
pub mod probe;
pub(crate) mod rtmp;
pub(crate) mod session;
pub(crate) mod starts;
pub mod state;
pub mod task;
pub mod way;
