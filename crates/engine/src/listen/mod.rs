//! Ports: connections are accepted, and each is asked what it wants.

pub(crate) mod rtmp;
mod session;
