//! What a relay is given.

use std::sync::Arc;

use tokio::{sync::Notify, time::Instant};

use crate::{
    broadcast::Broadcast,
    events::EventSink,
    rtmp::{dial::Dialer, origin::Origin},
};

/// What a relay needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// How to connect.
    pub dialer: Dialer,
    /// What to send.
    pub broadcast: Arc<Broadcast>,
    /// Poked whenever the view changes.
    pub changed: Arc<Notify>,
    /// Where the history hears of it.
    pub events: EventSink,
    /// When the first connection may be made.
    pub not_before: Instant,
    /// Where the connection's clock begins, and how much later the destination gets the stream.
    pub origin: Origin,
}
