//! One connection to a platform, whatever its protocol.

use std::sync::Arc;

use super::{context::Context, counters::Counters, way::Slow};
use crate::{rtmp::error::Failure, spec::Target};

/// A connection that may send.
pub(crate) trait Session: Send + Sized {
    /// Connects to `target` and asks for permission to send.
    fn open(
        context: &Context,
        target: &Target,
        counters: &Arc<Counters>,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Sends media until something happens that the relay has to know. Cancel safe.
    fn run(&mut self) -> impl Future<Output = Event> + Send;

    /// Says goodbye and closes: the platform ends the broadcast for its viewers.
    fn finish(self, how: Finish) -> impl Future<Output = ()> + Send;
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The first media arrived.
    Flows,
    /// Media stopped arriving.
    Stuck,
    /// It arrives again.
    Progress,
    /// It falls behind, and why.
    Behind(Slow),
    /// It no longer falls behind.
    CaughtUp,
    /// It ended.
    Lost(Failure),
    /// The platform asks for another connection: to this target, or to the same one.
    Moved(Option<Target>),
}

/// What is sent before the goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Everything that the broadcast still holds.
    Drained,
    /// Nothing that was not sent yet.
    AtOnce,
}
