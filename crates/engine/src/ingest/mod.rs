//! Ingest: what encoders publish to and players play from.
//!
//! [`listener`] takes connections, [`session`] is one connection up to its request, [`publish`] and
//! [`play`] are what becomes of it, by way of a [`seat`]; [`excess`] says how fast media may come, [`starts`] how often streams. [`paced`] is its socket.

pub mod excess;
pub mod listener;
pub(crate) mod paced;
pub mod play;
pub mod publish;
pub(crate) mod seat;
pub mod session;
pub(crate) mod starts;
