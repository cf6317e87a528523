//! The state machine of a pull: when it connects again, and which status it shows.
//!
//! Pure: outcomes and reports in, decisions out. A failed connection is repeated after a growing pause; a connection on
//! which a healthy server only waits, after a short pause. Hooks of the upstream server end a pause.

use std::time::Duration;

use super::{error, upstream::Upstream};
use crate::{
    backoff::{Schedule, delay},
    events::EndReason,
    rtmp::error::{Answer, Failure},
    status::{PullState, RelayError},
};

/// Pause after a connection on which nothing arrived.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a server said that the stream is not published.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// State between two connections.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The upstream server reported a publisher.
    is_announced: bool,
    /// The owner ended the stream here, and it continues upstream.
    is_ended_by_owner: bool,
    /// The stream is published upstream, but not accepted here.
    is_declined: bool,
    /// Connections since the last successful one.
    attempts: u32,
}

/// The outcome of a connection.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing arrived in time.
    Silent,
    /// The server says that the stream is not published.
    NotPublished,
    /// The stream stopped arriving, with a reason or without.
    Dropped(Option<Failure>),
    /// The upstream server reported the end of the stream.
    Unpublished,
    /// An encoder publishes here.
    Yielded,
    /// The broadcast ended here.
    BroadcastEnded(EndReason),
    /// The owner ended the stream here, and it continues upstream.
    Unwanted,
    /// The upstream server reported a publisher; a new connection will find the stream.
    Announced,
    /// The connection failed, or the server refused to play.
    Failed(Failure),
    /// This server does not accept the stream.
    Refused(RelayError),
}

/// What to do after a connection.
#[derive(Debug, PartialEq)]
pub(super) struct Next {
    /// The pause before the next connection.
    pub(super) pause: Duration,
    /// The new status; `None` leaves it unchanged.
    pub(super) status: Option<(PullState, Option<RelayError>)>,
}

impl State {
    /// Handles a report of the upstream server. Returns true when a connection should be made at once.
    pub(super) fn on_report(&mut self, report: Upstream) -> bool {
        self.is_announced = report == Upstream::Published;
        self.is_ended_by_owner = false;
        if self.is_announced {
            self.attempts = 0;
        }
        self.is_announced
    }

    /// Handles a new connection that requested the stream. Returns the new status, if it changes.
    pub(super) fn on_connected(&self) -> Option<PullState> {
        (!self.is_declined).then_some(PullState::Waiting)
    }

    /// Handles a stream that arrived and was accepted.
    pub(super) fn on_published(&mut self) {
        self.attempts = 0;
    }

    /// Whether a stream that arrives would be accepted.
    pub(super) fn is_wanted(&self) -> bool {
        !self.is_ended_by_owner
    }

    /// Handles the end of a connection. `random` is from 0 to 1.
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
                // Some servers close without an answer when the stream is not published.
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
