//! What a pull decides: when it connects again, and what its status says meanwhile.
//!
//! Pure: outcomes and reports in, decisions out. A connection that led to nothing is tried again after a growing pause; one on which a
//! healthy server only waits, after a short one. The upstream server's hooks cut a pause short.

use std::time::Duration;

use super::{error, upstream::Upstream};
use crate::{
    backoff::{Schedule, delay},
    events::EndReason,
    rtmp::error::{Answer, Failure},
    status::{PullState, RelayError},
};

/// Between a connection on which nothing came and the next.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Between two connections to a server that says that the stream is not published.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// What is known between two connections.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The upstream server reported a publisher.
    is_announced: bool,
    /// The owner ended the stream here, and it goes on upstream.
    is_ended_by_owner: bool,
    /// The stream is published upstream and not accepted here.
    is_declined: bool,
    /// Connections since the last one that brought something.
    attempts: u32,
}

/// What a connection led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing came in time.
    Silent,
    /// The server says that the stream is not published.
    NotPublished,
    /// The stream stopped coming, with a reason or without.
    Dropped(Option<Failure>),
    /// The upstream server reported the end of the stream.
    Unpublished,
    /// An encoder publishes here.
    Yielded,
    /// The broadcast ended here.
    BroadcastEnded(EndReason),
    /// The stream that its owner ended still goes on upstream.
    Unwanted,
    /// The upstream server reported a publisher: a new connection is sure to see it.
    Announced,
    /// No connection, or none that plays.
    Failed(Failure),
    /// The stream is not accepted here.
    Refused(RelayError),
}

/// What to do after a connection.
#[derive(Debug, PartialEq)]
pub(super) struct Next {
    /// Before the next connection.
    pub(super) pause: Duration,
    /// The new status; `None` leaves it as it is.
    pub(super) status: Option<(PullState, Option<RelayError>)>,
}

impl State {
    /// The upstream server reports something. True when a connection should be made at once.
    pub(super) fn on_report(&mut self, report: Upstream) -> bool {
        self.is_announced = report == Upstream::Published;
        self.is_ended_by_owner = false;
        if self.is_announced {
            self.attempts = 0;
        }
        self.is_announced
    }

    /// A connection asks for the stream. Gives the new status, if it changes.
    pub(super) fn on_connected(&self) -> Option<PullState> {
        (!self.is_declined).then_some(PullState::Waiting)
    }

    /// The stream came, and is accepted.
    pub(super) fn on_published(&mut self) {
        self.attempts = 0;
    }

    /// Whether the stream is accepted if it comes.
    pub(super) fn is_wanted(&self) -> bool {
        !self.is_ended_by_owner
    }

    /// A connection is over. `random` is from 0 to 1.
    pub(super) fn on_outcome(&mut self, outcome: Outcome, random: f64) -> Next {
        use PullState::{Failing, Waiting};
        let outcome = match outcome {
            Outcome::BroadcastEnded(reason) => {
                self.is_ended_by_owner = reason == EndReason::EndedByOwner;
                if self.is_ended_by_owner { Outcome::Unwanted } else { Outcome::Unpublished }
            }
            other => other,
        };
        self.is_declined = matches!(outcome, Outcome::Unwanted | Outcome::Refused(_));
        let (pause, status) = match outcome {
            Outcome::Announced => (Duration::ZERO, None),
            Outcome::Yielded => (Duration::ZERO, Some((Waiting, None))),
            Outcome::Silent => {
                (self.is_ended_by_owner, self.attempts) = (false, 0);
                (RETRY_PAUSE, None)
            }
            Outcome::NotPublished => {
                self.is_ended_by_owner = false;
                let pause = if self.is_announced { self.backoff(Schedule::Trouble, random) } else { LIVENESS_INTERVAL };
                if !self.is_announced {
                    self.attempts = 0;
                }
                (pause.min(LIVENESS_INTERVAL), Some((Waiting, None)))
            }
            Outcome::Unwanted => (LIVENESS_INTERVAL, Some((Waiting, Some(error::ended_by_owner())))),
            Outcome::Unpublished | Outcome::BroadcastEnded(_) => (LIVENESS_INTERVAL, Some((Waiting, None))),
            Outcome::Dropped(failure) => {
                (self.backoff(Schedule::Trouble, random), Some((Waiting, failure.as_ref().map(error::of))))
            }
            Outcome::Failed(failure) => {
                let pause = self.backoff(failure.schedule(), random);
                // Some servers close without a word where the stream is not published.
                let is_closed = failure == Failure::KeyRejected { answer: Answer::default() };
                let pause = if is_closed { pause.min(LIVENESS_INTERVAL) } else { pause };
                (pause, Some((Failing, Some(error::of(&failure)))))
            }
            Outcome::Refused(error) => (self.backoff(Schedule::Busy, random), Some((Failing, Some(error)))),
        };
        Next { pause, status }
    }

    fn backoff(&mut self, schedule: Schedule, random: f64) -> Duration {
        let pause = delay(schedule, self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests;
