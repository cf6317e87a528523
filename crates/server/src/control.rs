//! How a request changes what runs, on whichever server that is.

pub(crate) mod cluster;
pub(crate) mod commands;
