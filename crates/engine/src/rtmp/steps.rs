//! The steps from a server's name to an accepted stream, and the time that each took.

use std::time::Duration;

use tokio::time::Instant;

/// A step, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Resolving the name.
    Resolve,
    /// TCP.
    Connect,
    /// TLS, for `rtmps://`.
    Tls,
    /// The RTMP handshake.
    Handshake,
    /// `connect`.
    RtmpConnect,
    /// `createStream`.
    CreateStream,
}

impl Step {
    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::RtmpConnect => "rtmp_connect",
            Self::CreateStream => "create_stream",
        }
    }
}

/// The completed steps. A step that a redirect or a login repeats is listed once.
#[derive(Debug)]
pub(crate) struct Steps {
    done: Vec<(Step, Duration)>,
    current: Step,
    began_at: Instant,
}

impl Steps {
    /// Starts with resolving the name.
    pub(crate) fn new() -> Self {
        Self { done: Vec::new(), current: Step::Resolve, began_at: Instant::now() }
    }

    /// The completed steps in order, with the time that each took.
    pub(crate) fn done(&self) -> &[(Step, Duration)] {
        &self.done
    }

    /// The current step and the time since it began.
    pub(crate) fn current(&self) -> (Step, Duration) {
        (self.current, self.began_at.elapsed())
    }

    /// Completes the current step.
    pub(super) fn finish(&mut self) {
        if self.done.iter().all(|(step, _)| *step != self.current) {
            self.done.push(self.current());
        }
    }

    /// Completes the current step and begins `next`.
    pub(super) fn advance_to(&mut self, next: Step) {
        self.finish();
        self.begin(next);
    }

    /// Begins `step` on another connection.
    pub(super) fn begin(&mut self, step: Step) {
        (self.current, self.began_at) = (step, Instant::now());
    }
}
