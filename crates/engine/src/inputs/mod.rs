//! Inputs: the writers of a broadcast. An encoder by RTMP, or a pull from another server.
//!
//! [`drive`] is the loop that all of them share.

mod drive;
pub(crate) mod pull;
pub(crate) mod rtmp;
