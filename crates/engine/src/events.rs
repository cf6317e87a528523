//! Events for the history, and the queue that carries them.

mod event;
mod queue;

pub use self::{
    event::{EndReason, EngineEvent, Excess, RelayTotals},
    queue::{EventReceiver, EventSender, channel},
};
pub(crate) use queue::EventSink;
