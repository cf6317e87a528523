//! The only code through which requests make changes, with one function per change. It writes the rows with their line
//! in the audit log, changes what runs on this server, wakes the readers of the rows, and returns the changed rows. The
//! API's own handle can only read, so that no wake can be forgotten.

mod account;
mod destination;
mod project;
mod request;
mod stream;
mod token;

pub(crate) use self::request::{Commands, Control};
