//! A live project: its broadcast, its outputs, and the publisher's seat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::rate_limit::RateLimit;
use crate::{
    broadcast::{Broadcast, Phase},
    outputs::hls,
    spec::{DestinationId, ProjectSpec},
};

/// One live project.
#[derive(Debug)]
pub(crate) struct LiveProject {
    /// The running stream.
    pub(crate) broadcast: Arc<Broadcast>,
    /// The desired state. The account and the key stay those that the broadcast began with.
    pub(crate) spec: watch::Sender<ProjectSpec>,
    /// Destinations that should connect without further wait.
    pub(crate) retries: mpsc::Sender<DestinationId>,
    /// The HLS outputs.
    pub(crate) hls: Arc<hls::Output>,
    /// Cancelled once the supervisor has finished.
    pub(crate) finished: CancellationToken,
    publisher: Mutex<Seat>,
    rate_limit: Mutex<RateLimit>,
}

/// The publisher's seat. A new publisher takes it, and the old one has to leave.
#[derive(Debug, Default)]
struct Seat {
    number: u64,
    leave: CancellationToken,
}

/// A publisher's claim to its seat.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    number: u64,
    /// Cancelled when another publisher took over.
    pub(crate) leave: CancellationToken,
}

impl Seat {
    fn take(&mut self) -> Ticket {
        self.leave.cancel();
        *self = Self { number: self.number + 1, leave: CancellationToken::new() };
        Ticket { number: self.number, leave: self.leave.clone() }
    }
}

impl LiveProject {
    pub(crate) fn new(
        broadcast: Arc<Broadcast>,
        spec: watch::Sender<ProjectSpec>,
        retries: mpsc::Sender<DestinationId>,
        hls: Arc<hls::Output>,
    ) -> Arc<Self> {
        let (publisher, rate_limit) = (Mutex::default(), Mutex::default());
        Arc::new(Self { broadcast, spec, retries, hls, finished: CancellationToken::new(), publisher, rate_limit })
    }

    /// Takes the publisher's seat; the previous publisher has to leave.
    #[cfg(test)]
    pub(crate) fn take_seat(&self) -> Ticket {
        let mut seat = self.seat();
        seat.take()
    }

    /// Takes the publisher's seat according to `claim`; `None` when it is occupied and not taken over.
    pub(crate) fn claim_seat(&self, claim: Claim) -> Option<Ticket> {
        let mut seat = self.seat();
        (claim == Claim::TakeOver || self.is_free(&seat)).then(|| seat.take())
    }

    /// Whether no publisher is connected.
    pub(crate) fn is_seat_free(&self) -> bool {
        self.is_free(&self.seat())
    }

    fn is_free(&self, seat: &Seat) -> bool {
        // A new broadcast is in phase `Live` before its first publisher takes the seat.
        seat.number == 0 || matches!(*self.broadcast.phase().borrow(), Phase::Dropped(_))
    }

    /// Runs `action` if the ticket still holds the seat.
    pub(crate) fn if_seated(&self, ticket: &Ticket, action: impl FnOnce()) {
        let seat = self.seat();
        if seat.number == ticket.number {
            action();
        }
    }

    /// Sets the desired state, unless the key differs: a broadcast has one key for its whole life.
    pub(crate) fn apply(&self, spec: &ProjectSpec) -> Applied {
        if self.spec.borrow().stream_key != spec.stream_key {
            return Applied::OtherKey;
        }
        self.spec.send_if_modified(|old| {
            let differs = old != spec;
            if differs {
                old.clone_from(spec);
            }
            differs
        });
        Applied::Yes
    }

    /// The rates of the stream, over all connections of its encoder.
    pub(crate) fn rate_limit(&self) -> MutexGuard<'_, RateLimit> {
        self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Result of applying a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The broadcast continues with it.
    Yes,
    /// The project is not live here.
    NotLive,
    /// The broadcast began with another key, and stays unchanged.
    OtherKey,
}

/// How a publisher claims the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Takes the seat even if it is occupied.
    TakeOver,
    /// Takes the seat only if it is free.
    IfFree,
}
