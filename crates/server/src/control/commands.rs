//! The only way in which a request changes anything: one function for each change. It writes the rows with their line in the
//! audit log, changes what runs here, wakes what has to read the rows again, and returns what it touched. The API has no other
//! handle on rows than one that reads them, so that no wake can be forgotten.

mod account;
mod destination;
mod project;
mod request;
mod stream;
mod token;

pub(crate) use self::request::{Commands, Control};
