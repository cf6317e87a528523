//! A live project: its broadcast, its outputs, and the seat of who publishes to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::rate_limit::Pace;
use crate::{
    broadcast::{Broadcast, Phase},
    outputs::hls,
    spec::{DestinationId, ProjectSpec},
};

/// One live project.
#[derive(Debug)]
pub(crate) struct Live {
    /// The running stream.
    pub(crate) broadcast: Arc<Broadcast>,
    /// What should be. Its account and its key are those that the broadcast began with.
    pub(crate) spec: watch::Sender<ProjectSpec>,
    /// Destinations that should not wait.
    pub(crate) retries: mpsc::Sender<DestinationId>,
    /// The classic HLS output.
    pub(crate) hls: Arc<hls::Output>,
    /// Cancelled once the supervisor is done.
    pub(crate) over: CancellationToken,
    publisher: Mutex<Seat>,
    pace: Mutex<Pace>,
}

/// Who publishes: each new one takes the seat and the old one has to go.
#[derive(Debug, Default)]
struct Seat {
    number: u64,
    leave: CancellationToken,
}

/// A publisher's hold on its seat.
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

impl Live {
    pub(crate) fn new(
        broadcast: Arc<Broadcast>,
        spec: watch::Sender<ProjectSpec>,
        retries: mpsc::Sender<DestinationId>,
        hls: Arc<hls::Output>,
    ) -> Arc<Self> {
        let (publisher, pace) = (Mutex::default(), Mutex::default());
        Arc::new(Self { broadcast, spec, retries, hls, over: CancellationToken::new(), publisher, pace })
    }

    /// Takes the publisher's seat; the previous publisher is told to leave.
    #[cfg(test)]
    pub(crate) fn take_seat(&self) -> Ticket {
        let mut seat = self.seat();
        seat.take()
    }

    /// Takes the publisher's seat as `claim` says; `None` when it is taken by one that may stay.
    pub(crate) fn claim_seat(&self, claim: Claim) -> Option<Ticket> {
        let mut seat = self.seat();
        (claim == Claim::TakeOver || self.is_free(&seat)).then(|| seat.take())
    }

    /// Whether nobody publishes.
    pub(crate) fn is_seat_free(&self) -> bool {
        self.is_free(&self.seat())
    }

    fn is_free(&self, seat: &Seat) -> bool {
        // A broadcast is born live, a moment before its first publisher sits down.
        seat.number == 0 || matches!(*self.broadcast.phase().borrow(), Phase::Dropped(_))
    }

    /// Runs `action` if the ticket's holder still has the seat.
    pub(crate) fn if_seated(&self, ticket: &Ticket, action: impl FnOnce()) {
        let seat = self.seat();
        if seat.number == ticket.number {
            action();
        }
    }

    /// What should be, if that is a change and not another broadcast: one has the same key for all its life.
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

    /// How fast the stream comes, over all its encoder's connections.
    pub(crate) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The broadcast goes on with it.
    Yes,
    /// The project is not live here.
    NotLive,
    /// The broadcast was begun with another key, and stays as it is.
    OtherKey,
}

/// What a publisher that comes wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The seat, taken or not.
    TakeOver,
    /// The seat, if it is free.
    IfFree,
}
