//! The steps from a server's name to a stream that it accepts, and how long each took.

use std::time::Duration;

use tokio::time::Instant;

/// A step, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The name becomes addresses.
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

/// The steps that were taken. One that a redirect or a login repeats is listed once.
#[derive(Debug)]
pub(crate) struct Steps {
    done: Vec<(Step, Duration)>,
    current: Step,
    began_at: Instant,
}

impl Steps {
    /// Begins with the name.
    pub(crate) fn new() -> Self {
        Self { done: Vec::new(), current: Step::Resolve, began_at: Instant::now() }
    }

    /// What was done, in order, with the time that each took.
    pub(crate) fn done(&self) -> &[(Step, Duration)] {
        &self.done
    }

    /// The step that is being taken, and the time since it began.
    pub(crate) fn current(&self) -> (Step, Duration) {
        (self.current, self.began_at.elapsed())
    }

    /// The current step is done.
    pub(super) fn finish(&mut self) {
        if self.done.iter().all(|(step, _)| *step != self.current) {
            self.done.push(self.current());
        }
    }

    /// The current step is done, and `next` begins.
    pub(super) fn advance_to(&mut self, next: Step) {
        self.finish();
        self.begin(next);
    }

    /// `step` begins, after one that led elsewhere.
    pub(super) fn begin(&mut self, step: Step) {
        (self.current, self.began_at) = (step, Instant::now());
    }
}
