//! How a platform misbehaves: every deviation that was seen in platforms and the proxies in front of them.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// The behaviour of a platform. The default is correct in every respect.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Refuse `publish` with this code.
    pub refuse: Option<&'static str>,
    /// Deviate at that step.
    pub deviation: Option<(Step, Deviation)>,
    /// Close this long after the publish was accepted.
    pub close_after: Option<Duration>,
    /// Reset the connection this long after the publish was accepted.
    pub reset_after: Option<Duration>,
    /// Send this message that long after accepting the publish.
    pub message_after: Option<(Duration, LiveMessage)>,
    /// Send a `PingRequest` this often from the publish on.
    pub ping_every: Option<Duration>,
    /// Accept TCP connections and never send a byte.
    pub mute: bool,
    /// Stop reading after this many bytes.
    pub stop_reading_after: Option<usize>,
    /// Read at this rate.
    pub kbps: Option<NonZeroU32>,
    /// Send each byte in a separate TCP segment.
    pub byte_by_byte: bool,
    /// Send chunks of this size; 65536 by default.
    pub chunk_bytes: Option<NonZeroUsize>,
    /// The message stream id of `createStream`, which `publish` must use; 1 by default.
    pub stream_id: Option<u32>,
    /// Require Adobe authentication.
    pub login: Option<Login>,
    /// TLS with this configuration.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A step of the connection setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The handshake.
    Handshake,
    /// `connect`.
    Connect,
    /// `releaseStream` and `FCPublish`, which many servers do not know.
    ReleaseStream,
    /// `createStream`.
    CreateStream,
    /// `publish`.
    Publish,
}

/// A deviation from the correct response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// An error with this code: `_error`, or `onStatus` for `publish`.
    Refuse(&'static str),
    /// A redirect to this URL (RTMP 302). Only for `connect`.
    Redirect(String),
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// No response, now or later.
    Silence,
}

/// A message from a platform to a live publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveMessage {
    /// A reconnect request, with or without a URL (Enhanced RTMP v2, "Reconnect Request").
    Reconnect(Option<String>),
    /// `onStatus` of level `error` with this code.
    Error(&'static str),
}

/// The accepted login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: &'static str,
    /// The password.
    pub password: &'static str,
}

impl Behaviour {
    /// Deviates at `step`.
    pub fn at(step: Step, deviation: Deviation) -> Self {
        Self { deviation: Some((step, deviation)), ..Self::default() }
    }

    /// Sends a message that long after accepting the publish.
    pub fn says(after: Duration, say: LiveMessage) -> Self {
        Self { message_after: Some((after, say)), ..Self::default() }
    }

    pub(super) fn at_step(&self, step: Step) -> Option<&Deviation> {
        self.deviation.as_ref().filter(|(at, _)| *at == step).map(|(_, deviation)| deviation)
    }

    /// Whether connections end with a reset.
    pub(super) fn resets(&self) -> bool {
        self.reset_after.is_some() || matches!(self.deviation, Some((_, Deviation::Reset)))
    }

    /// Whether it reads slowly or stops, which must have an immediate effect.
    pub(super) fn reads_badly(&self) -> bool {
        self.stop_reading_after.is_some() || self.kbps.is_some()
    }
}
