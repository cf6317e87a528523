//! A relay: the running task that sends one broadcast to one destination.
//!
//! [`state`] decides and [`task`] acts. [`session`] is the interface of a connection of any protocol, [`rtmp`] its
//! implementation for RTMP. `behind` detects that a connection is too slow, [`way`] finds the reason; [`probe`] tests a
//! destination before a stream. A relay cannot slow, stop or see the inputs.

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
