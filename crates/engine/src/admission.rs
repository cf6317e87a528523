//! The one question that the data plane asks: may this key publish or play?

use std::net::SocketAddr;

use gostream_net::BoxFuture;

use crate::spec::{ProjectSpec, StreamKey};

/// Asks the control plane whether a key may publish or play. Called before any media is taken, and again after every wait: an
/// answer is used at once or not at all.
pub trait Admission: Send + Sync + 'static {
    /// The project behind `key`, or why not.
    fn admit<'a>(&'a self, key: &'a StreamKey, peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>>;
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No project has this key.
    UnknownKey,
    /// The account has as many live streams as it may have.
    TooMany,
    /// The control plane could not answer (database away).
    Unavailable,
}

impl Refusal {
    /// What the owner of the stream should know and do.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::UnknownKey => "No project has this stream key. Copy it again from your project page.",
            Self::TooMany => "Your account has as many live streams as it may have. End another one first.",
            Self::Unavailable => "The server cannot check stream keys right now. Try again in a moment.",
        }
    }
}
