//! The question that the data plane asks the control plane: may this key publish or play?

use std::net::SocketAddr;

use gostream_net::BoxFuture;

use crate::spec::{ProjectSpec, StreamKey};

/// Asks the control plane whether a key may publish or play. Called before any media is accepted, and again after every
/// wait: an answer is used immediately or not at all.
pub trait Admission: Send + Sync + 'static {
    /// The project with `key`, or why it is refused.
    fn admit<'a>(&'a self, key: &'a StreamKey, peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>>;
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No project has this key.
    UnknownKey,
    /// The account has its maximum of live streams.
    TooMany,
    /// The control plane could not answer (database unavailable).
    Unavailable,
}

impl Refusal {
    /// An explanation for the owner of the stream, with what to do.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::UnknownKey => "No project has this stream key. Copy it again from your project page.",
            Self::TooMany => "Your account has reached its limit of live streams. End another one first.",
            Self::Unavailable => "The server cannot check stream keys right now. Try again in a moment.",
        }
    }
}
