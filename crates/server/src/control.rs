//! How a request changes what runs, on whichever server that is: handlers write rows and wake, the reconciler reads them and
//! tells the engine.

pub(crate) mod admission;
pub(crate) mod cluster;
pub(crate) mod commands;
pub(crate) mod link;
mod queue;
pub(crate) mod reconciler;
pub(crate) mod rows;
mod shown;
pub(crate) mod sync;
pub(crate) mod wakes;
