//! The tables as SeaORM sees them. Only this crate sees these types, but for the words of a column; what leaves it are the rows of
//! the modules beside.

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
