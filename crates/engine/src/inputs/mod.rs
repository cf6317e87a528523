//! Who writes a broadcast: an encoder by RTMP, and streams that are pulled from other servers.
//!
//! [`drive`] is the loop that all of them share.

mod drive;
pub(crate) mod pull;
pub(crate) mod rtmp;
