//! The SeaORM entities. They are private to this crate, except for enums of column values; the modules next to this one
//! return types of their own.

pub(crate) mod api_token;
pub(crate) mod audit;
pub(crate) mod canary;
pub(crate) mod destination;
pub(crate) mod moment;
pub(crate) mod node;
pub(crate) mod project;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod stream_command;
pub(crate) mod stream_event;
pub(crate) mod user;
