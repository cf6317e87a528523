//! How requests change running streams on any server: commands write rows and wake the reconciler, which reads the rows
//! and applies them to the engine.

pub(crate) mod admission;
pub(crate) mod cluster;
pub(crate) mod commands;
mod key_disclosure;
pub(crate) mod link;
mod queue;
pub(crate) mod reconciler;
pub(crate) mod rows;
pub(crate) mod sync;
pub(crate) mod wakes;
