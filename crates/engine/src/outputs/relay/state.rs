//! The state machine of a relay: pure, with time and randomness as arguments. The only place that retries a
//! destination.
//!
//! ```text
//!            Begin           Accepted, Published      Stuck
//! Waiting ----------> Connecting ----------> Live <----------> Stalled
//!                       ^    |                 |    Progress      |
//!                  Due, |    | Lost            | Lost             | Lost
//!              RetryNow |    v                 v                  |
//!                     Backoff or Rejected <-----------------------+
//! ```
//!
//! [`Event::Behind`] leads from Live to Degraded, [`Event::CaughtUp`] back; other events act as in Live.
//!
//! Every state has a way out. Stopping a relay needs no state: its task is cancelled.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::way::Slow;
use crate::{
    backoff::{self, Schedule},
    rtmp::error::Failure,
};

/// A connection that lasted this long was good: attempts are counted from zero again.
const GOOD_AFTER: Duration = Duration::from_secs(60);
/// A connection that ends within this time of its start was probably refused: nginx-rtmp, SRS and Amazon IVS close
/// without a refusal.
const EARLY: Duration = Duration::from_secs(5);
/// A platform that asks for another connection gets it at once, but at most once in this time.
const MOVE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// After a format change of the encoder, the relay connects again at once, at most this often in a row.
const FORMAT_CHANGES_MAX: u32 = 6;
/// One more is allowed each time this has passed.
const FORMAT_CHANGE_FORGOTTEN: Duration = Duration::from_secs(10);
/// This many early ends in a row count as a refusal.
const EARLY_ENDS_MAX: u32 = 3;

/// The phase of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a packet to start with.
    Waiting,
    /// A connection is being made.
    Connecting,
    /// The platform receives the stream.
    Live,
    /// The platform receives the stream too slowly: the relay is late and skips pictures.
    Degraded,
    /// Connected, but the platform acknowledges no bytes.
    Stalled,
    /// Waits before the next attempt.
    Backoff {
        /// End of the wait.
        until: Instant,
    },
    /// The platform refused; waits longer.
    Rejected {
        /// End of the wait.
        until: Instant,
    },
}

/// An event of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to send.
    Begin,
    /// The platform allows us to publish.
    Accepted,
    /// The first media was acknowledged.
    Published,
    /// The platform acknowledges no more bytes.
    Stuck,
    /// The platform acknowledges bytes again.
    Progress,
    /// The relay is late or skips pictures; with the reason.
    Behind(Slow),
    /// The relay is no longer late.
    CaughtUp,
    /// The connection failed or ended.
    Lost(Failure),
    /// The wait is over.
    Due,
    /// The user asked for an attempt now.
    RetryNow,
}

/// What the task has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Continue.
    Nothing,
    /// Make a connection.
    Connect,
    /// Close the connection, and report [`Event::Due`] at that time.
    Wait {
        /// The time.
        until: Instant,
    },
}

/// The state of a relay.
#[derive(Clone, Debug)]
pub struct State {
    phase: Phase,
    since: Instant,
    /// Connections tried since the last good one.
    attempt: u32,
    /// Failures in a row with the current schedule.
    tries: u32,
    schedule: Schedule,
    early_ends: u32,
    accepted_at: Option<Instant>,
    reconnects: BTreeMap<&'static str, u32>,
    last_failure: Option<Failure>,
    /// Why the relay is late, in `Degraded`.
    slow: Option<Slow>,
    /// When the platform last asked for another connection.
    moved_at: Option<Instant>,
    /// Recent format changes, and when their number was last reduced.
    format_changes: u32,
    format_changes_at: Instant,
}

impl State {
    /// A relay that was just enabled.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Waiting,
            since: now,
            attempt: 0,
            tries: 0,
            schedule: Schedule::Trouble,
            early_ends: 0,
            accepted_at: None,
            reconnects: BTreeMap::new(),
            last_failure: None,
            slow: None,
            moved_at: None,
            format_changes: 0,
            format_changes_at: now,
        }
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the current phase began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Connection attempts since it was last live for a minute.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often it connected again after being live, by the code of the failure.
    pub fn reconnects(&self) -> &BTreeMap<&'static str, u32> {
        &self.reconnects
    }

    /// Why the last connection failed or ended; stays until a connection was good.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// Why the relay is late, while it is.
    pub fn slow(&self) -> Option<&Slow> {
        self.slow.as_ref().filter(|_| self.phase == Phase::Degraded)
    }

    /// Handles an event and returns what to do. An event that does not fit the phase is ignored: another one overtook
    /// it. `jitter` is a random number from 0 to 1.
    pub fn on(&mut self, event: Event, now: Instant, jitter: f64) -> Action {
        debug_assert!(now >= self.since);
        let action = self.transition(event, now, jitter);
        debug_assert!(match (action, self.phase) {
            (Action::Nothing, _) => true,
            (Action::Connect, phase) => phase == Phase::Connecting && self.accepted_at.is_none(),
            (Action::Wait { until }, Phase::Backoff { until: end } | Phase::Rejected { until: end }) => {
                until == end && until > now
            }
            (Action::Wait { .. }, _) => false,
        });
        action
    }

    fn transition(&mut self, event: Event, now: Instant, jitter: f64) -> Action {
        match (self.phase, event) {
            (Phase::Waiting, Event::Begin)
            | (Phase::Backoff { .. } | Phase::Rejected { .. }, Event::Due | Event::RetryNow) => {
                self.attempt += 1;
                self.enter(Phase::Connecting, now);
                Action::Connect
            }
            (Phase::Connecting, Event::Accepted) => {
                self.accepted_at = Some(now);
                Action::Nothing
            }
            (Phase::Connecting, Event::Published) => {
                // A format change is not an error.
                self.last_failure.take_if(|failure| *failure == Failure::FormatChanged);
                self.enter(Phase::Live, now);
                Action::Nothing
            }
            (Phase::Live | Phase::Degraded, Event::Stuck) => {
                self.enter(Phase::Stalled, now);
                Action::Nothing
            }
            (Phase::Stalled, Event::Progress) | (Phase::Degraded, Event::CaughtUp) => {
                self.enter(Phase::Live, now);
                Action::Nothing
            }
            (Phase::Live, Event::Behind(slow)) => {
                self.slow = Some(slow);
                self.enter(Phase::Degraded, now);
                Action::Nothing
            }
            (Phase::Degraded, Event::Behind(slow)) => {
                self.slow = Some(slow);
                Action::Nothing
            }
            (Phase::Connecting | Phase::Live | Phase::Degraded | Phase::Stalled, Event::Lost(failure)) => {
                self.lost(failure, now, jitter)
            }
            _ => Action::Nothing,
        }
    }

    fn lost(&mut self, failure: Failure, now: Instant, jitter: f64) -> Action {
        let lasted = self.accepted_at.take().map(|at| now - at);
        let was_live = matches!(self.phase, Phase::Live | Phase::Degraded | Phase::Stalled);
        // Not an error: connect again at once, without counting a failure.
        if self.may_connect_at_once(&failure, now) {
            self.count(was_live, &failure);
            self.last_failure = Some(failure);
            self.enter(Phase::Connecting, now);
            return Action::Connect;
        }
        if lasted.is_some_and(|lasted| lasted >= GOOD_AFTER) {
            self.attempt = 0;
            self.tries = 0;
            self.early_ends = 0;
        }
        let failure = self.judge(failure, lasted);
        self.count(was_live, &failure);
        let schedule = failure.schedule();
        if schedule != self.schedule {
            self.schedule = schedule;
            self.tries = 0;
        }
        let until = now + backoff::delay(schedule, self.tries, jitter);
        self.tries += 1;
        self.last_failure = Some(failure);
        self.enter(
            match schedule {
                Schedule::Refusal => Phase::Rejected { until },
                Schedule::Trouble | Schedule::Busy => Phase::Backoff { until },
            },
            now,
        );
        Action::Wait { until }
    }

    fn count(&mut self, was_live: bool, failure: &Failure) {
        if was_live {
            *self.reconnects.entry(failure.code()).or_default() += 1;
        }
    }

    /// Whether the next connection is made without a wait.
    fn may_connect_at_once(&mut self, failure: &Failure, now: Instant) -> bool {
        match failure {
            Failure::Moved => {
                let may = self.moved_at.is_none_or(|at| now - at >= MOVE_AGAIN_AFTER);
                self.moved_at = if may { Some(now) } else { self.moved_at };
                may
            }
            Failure::FormatChanged => {
                let forgotten = (now - self.format_changes_at).div_duration_f64(FORMAT_CHANGE_FORGOTTEN) as u32;
                self.format_changes = self.format_changes.saturating_sub(forgotten);
                self.format_changes_at += FORMAT_CHANGE_FORGOTTEN * forgotten;
                self.format_changes += 1;
                self.format_changes <= FORMAT_CHANGES_MAX
            }
            _ => false,
        }
    }

    /// Several ends right after the start count as a refusal.
    fn judge(&mut self, failure: Failure, lasted: Option<Duration>) -> Failure {
        match (lasted, failure) {
            (Some(lasted), Failure::ConnectionLost { host }) if lasted < EARLY => {
                self.early_ends += 1;
                if self.early_ends >= EARLY_ENDS_MAX {
                    Failure::ClosedEarly { host }
                } else {
                    Failure::ConnectionLost { host }
                }
            }
            (Some(_), failure) => {
                self.early_ends = 0;
                failure
            }
            (None, failure) => failure,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

#[cfg(test)]
mod tests;
