//! The state machine of a relay: pure, with time and chance passed in. The only place that retries a destination.
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
//! Between Live and Stalled there is Degraded: [`Event::Behind`] leads there from Live, [`Event::CaughtUp`] back, and all else
//! is as in Live.
//!
//! Every state has a way out, and stopping a relay needs no state: its task is cancelled.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::way::Slow;
use crate::{
    backoff::{self, Schedule},
    rtmp::error::Failure,
};

/// A connection that lasted this long was a good one: the count of tries begins anew.
const GOOD_AFTER: Duration = Duration::from_secs(60);
/// A connection that ends within this time of its start was likely refused without words: nginx-rtmp, SRS and
/// Amazon IVS close instead of saying no.
const EARLY: Duration = Duration::from_secs(5);
/// A platform that asks for another connection gets it at once, but only once in this time.
const MOVE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// An encoder that changes its format gets another connection at once; this number of them may follow each other.
const FORMAT_CHANGES_MAX: u32 = 6;
/// One more is allowed after each of these.
const FORMAT_CHANGE_FORGOTTEN: Duration = Duration::from_secs(10);
/// So many early ends in a row are a refusal.
const EARLY_ENDS_MAX: u32 = 3;

/// Where a relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a packet that sending can start at.
    Waiting,
    /// A connection is being made.
    Connecting,
    /// The platform takes the stream.
    Live,
    /// The platform takes the stream, but not all of it: the relay falls behind and skips.
    Degraded,
    /// Connected, but bytes stopped leaving.
    Stalled,
    /// Waits before it tries again.
    Backoff {
        /// Until then.
        until: Instant,
    },
    /// The platform said no; waits longer.
    Rejected {
        /// Until then.
        until: Instant,
    },
}

/// What happened to a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to send.
    Begin,
    /// The platform lets us publish.
    Accepted,
    /// The first media arrived there.
    Published,
    /// Bytes stopped leaving.
    Stuck,
    /// Bytes leave again.
    Progress,
    /// The relay falls behind, and why.
    Behind(Slow),
    /// It does no more.
    CaughtUp,
    /// The connection failed or ended.
    Lost(Failure),
    /// The wait is over.
    Due,
    /// The user does not want to wait.
    RetryNow,
}

/// What the task has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on as before.
    Nothing,
    /// Make a connection.
    Connect,
    /// Have no connection, and report [`Event::Due`] at that time.
    Wait {
        /// The time.
        until: Instant,
    },
}

/// The machine.
#[derive(Clone, Debug)]
pub struct State {
    phase: Phase,
    since: Instant,
    /// Connections tried since the last good one.
    attempt: u32,
    /// Failures of the schedule in force, in a row.
    tries: u32,
    schedule: Schedule,
    early_ends: u32,
    accepted_at: Option<Instant>,
    reconnects: BTreeMap<&'static str, u32>,
    last_failure: Option<Failure>,
    /// Why it falls behind, while it does.
    slow: Option<Slow>,
    /// When the platform last asked for another connection.
    moved_at: Option<Instant>,
    /// How often the format changed of late, and when that number was last reduced.
    format_changes: u32,
    format_changes_at: Instant,
}

impl State {
    /// A relay that was just wanted.
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

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Connections tried since it was last live for a minute.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often it had to connect again after being live, by the code of what ended the connection.
    pub fn reconnects(&self) -> &BTreeMap<&'static str, u32> {
        &self.reconnects
    }

    /// Why the last connection failed or ended; stays until a connection was good.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// Why it falls behind, while it does.
    pub fn slow(&self) -> Option<&Slow> {
        self.slow.as_ref().filter(|_| self.phase == Phase::Degraded)
    }

    /// Takes what happened and says what to do. An event that does not fit the phase changes nothing: it was under way when
    /// another one came first. `jitter` is a random number from 0 to 1.
    pub fn on(&mut self, event: Event, now: Instant, jitter: f64) -> Action {
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
                // A change of format is no trouble.
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
        // Nobody's fault: connect again at once, and count nothing.
        if self.may_hurry(&failure, now) {
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

    /// Whether the next connection is made without a pause.
    fn may_hurry(&mut self, failure: &Failure, now: Instant) -> bool {
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

    /// Several ends right after the start are a refusal without words.
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
