//! One connection to a platform, independent of its protocol.

use std::sync::Arc;

use super::{context::Context, counters::Counters, way::Slow};
use crate::{rtmp::error::Failure, spec::Target};

/// A connection that may send.
pub(crate) trait Session: Send + Sized {
    /// Connects to `target` and requests permission to send.
    fn open(
        context: &Context,
        target: &Target,
        counters: &Arc<Counters>,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Sends media until an event for the relay happens. Cancel safe.
    fn run(&mut self) -> impl Future<Output = Event> + Send;

    /// Ends the stream on the platform and closes the connection.
    fn finish(self, how: Finish) -> impl Future<Output = ()> + Send;
}

/// An event on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The first media was acknowledged.
    Flows,
    /// Media is no longer acknowledged.
    Stuck,
    /// Media is acknowledged again.
    Progress,
    /// The connection is too slow; with the reason.
    Behind(Slow),
    /// The connection is fast enough again.
    CaughtUp,
    /// It ended.
    Lost(Failure),
    /// The platform asks for another connection: to this target, or to the same one.
    Moved(Option<Target>),
}

/// What is sent before the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Everything that the broadcast still holds.
    Drained,
    /// Nothing that is still unsent.
    AtOnce,
}
