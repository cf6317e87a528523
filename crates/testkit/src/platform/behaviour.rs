//! What a platform does instead of what it should: every way in which platforms, and what stands in front of them, were
//! seen to treat a client.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// How a platform behaves; the default one does everything right.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Refuse `publish` with this code.
    pub refuse: Option<&'static str>,
    /// Do something else than answer at that step.
    pub instead: Option<(Step, Instead)>,
    /// Close this long after the publish was accepted.
    pub close_after: Option<Duration>,
    /// Reset the connection this long after the publish was accepted.
    pub reset_after: Option<Duration>,
    /// Say this so long after the publish was accepted.
    pub say_after: Option<(Duration, Say)>,
    /// Send a `PingRequest` this often from the publish on.
    pub ping_every: Option<Duration>,
    /// Accept TCP and never say anything.
    pub mute: bool,
    /// Stop reading once so many bytes came.
    pub stop_reading_after: Option<usize>,
    /// Read this slowly.
    pub kbps: Option<NonZeroU32>,
    /// Send each byte in a segment of its own.
    pub byte_by_byte: bool,
    /// Send chunks of this size; 65536 by default.
    pub chunk_bytes: Option<NonZeroUsize>,
    /// What `createStream` is answered with, and what `publish` must come on; 1 by default.
    pub stream_id: Option<u32>,
    /// Let in only who authenticates as Adobe's servers ask for it.
    pub login: Option<Login>,
    /// TLS with this configuration.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A step of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first bytes.
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

/// What comes instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// No, with this code: `_error`, or `onStatus` at the publish.
    Refuse(&'static str),
    /// The address to go to (RTMP 302). Only at the connect.
    Redirect(String),
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing, and nothing after it.
    Silence,
}

/// What a platform says to a live publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Connect anew, there or here (Enhanced RTMP v2, "Reconnect Request").
    Reconnect(Option<String>),
    /// Something is wrong: `onStatus` of level `error` with this code.
    Error(&'static str),
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: &'static str,
    /// The password.
    pub password: &'static str,
}

impl Behaviour {
    /// Does `instead` at `step`.
    pub fn at(step: Step, instead: Instead) -> Self {
        Self { instead: Some((step, instead)), ..Self::default() }
    }

    /// Says `say` that long after the publish was accepted.
    pub fn says(after: Duration, say: Say) -> Self {
        Self { say_after: Some((after, say)), ..Self::default() }
    }

    pub(super) fn at_step(&self, step: Step) -> Option<&Instead> {
        self.instead.as_ref().filter(|(at, _)| *at == step).map(|(_, instead)| instead)
    }

    /// Whether its connections end with a reset.
    pub(super) fn resets(&self) -> bool {
        self.reset_after.is_some() || matches!(self.instead, Some((_, Instead::Reset)))
    }

    /// Whether it is to be felt at once when it stops reading, or reads slowly.
    pub(super) fn reads_badly(&self) -> bool {
        self.stop_reading_after.is_some() || self.kbps.is_some()
    }
}
