//! What the history hears. `queue` is the way to it.

mod event;
mod queue;

pub use self::{
    event::{EndReason, EngineEvent, Excess, RelayTotals},
    queue::{EventReceiver, EventSender, channel},
};
pub(crate) use queue::EventSink;
