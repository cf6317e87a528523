//! Desired state: the control plane hands the engine one [`ProjectSpec`] per live project.

use std::{fmt, sync::Arc, time::Duration};

use gostream_proto::rtmp::url::RtmpUrl;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The owner of projects, which share its limits. The engine knows nothing else about an account.
    AccountId
}
id! {
    /// A saved place to publish to.
    ProjectId
}
id! {
    /// A saved place to send to.
    DestinationId
}
id! {
    /// One live session of a project: a UUID v7, which contains its start time.
    StreamId
}

/// A stream key. Prints as `****`; compared byte by byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// Wraps a key exactly as the user or the encoder gave it.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key itself, for RTMP and for lookups; never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// The complete desired state of a live project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSpec {
    /// The project.
    pub id: ProjectId,
    /// The account whose limits apply.
    pub account: AccountId,
    /// The key that its encoder publishes with; part of the classic HLS paths.
    pub stream_key: StreamKey,
    /// The id in viewers' URLs; reveals nothing about the key.
    pub playback_id: String,
    /// How an encoder's goodbye is handled.
    pub goodbye: Goodbye,
    /// Every saved destination, enabled or not.
    pub destinations: Vec<DestinationSpec>,
}

/// What happens when the encoder ends the stream by RTMP command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goodbye {
    /// The stream ends at once.
    #[default]
    Ends,
    /// It counts as a drop: destinations stay connected for the grace time. For encoders that say goodbye when their
    /// network fails, and for shows that switch encoders while live.
    Holds,
}

/// A stream to pull: it is played from another server whenever it is published there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSpec {
    /// The account whose limits apply.
    pub account: AccountId,
    /// The project that the stream belongs to.
    pub project: ProjectId,
    /// The server, and the project's key, which is the stream's name there.
    pub source: Target,
}

/// One saved destination of a live project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// The destination.
    pub id: DestinationId,
    /// Server, app and stream name.
    pub target: Target,
    /// A second server of the same platform, which gets the same stream over its own connection.
    pub backup: Option<Target>,
    /// Whether a relay should run.
    pub enabled: bool,
    /// How much later than it arrives the destination gets the stream.
    pub delay: Duration,
}

/// One of the connections to a destination; each has its own relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// To the destination's server.
    Primary,
    /// To its backup server.
    Backup,
}

impl Leg {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        }
    }
}

/// Identifies a relay: a destination and one of its legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId {
    /// The destination.
    pub destination: DestinationId,
    /// One of its connections.
    pub leg: Leg,
}

impl RelayId {
    /// The relay to a destination's own server.
    pub const fn primary(destination: DestinationId) -> Self {
        Self { destination, leg: Leg::Primary }
    }

    /// The relay to a destination's backup server.
    pub const fn backup(destination: DestinationId) -> Self {
        Self { destination, leg: Leg::Backup }
    }
}

/// Where a relay sends to: the server's URL as the user wrote it and the key, never joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server and app.
    pub url: RtmpUrl,
    /// The stream name on that server.
    pub key: StreamKey,
}
