//! Who writes a broadcast: an encoder by RTMP, and streams that are pulled from other servers.

pub(crate) mod pull;
pub(crate) mod rtmp;
