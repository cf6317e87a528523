//! What a relay is created with.

use std::sync::Arc;

use tokio::{sync::Notify, time::Instant};

use crate::{
    broadcast::Broadcast,
    events::EventSink,
    rtmp::{dial::Dialer, origin::Origin},
};

/// Shared objects of a relay.
#[derive(Clone, Debug)]
pub struct Context {
    /// Connects to servers.
    pub dialer: Dialer,
    /// The stream to send.
    pub broadcast: Arc<Broadcast>,
    /// Notified whenever the visible state changes.
    pub changed: Arc<Notify>,
    /// Events for the history.
    pub events: EventSink,
    /// Earliest time of the first connection.
    pub not_before: Instant,
    /// The destination's clock and delay.
    pub origin: Origin,
}
