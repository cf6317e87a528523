//! What should be: the control plane hands the engine one [`ProjectSpec`] per live project.

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
    /// The owner of projects, which share its limits. The engine knows nothing else of it.
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
    /// One live session of a project: a UUID v7, which says when it began.
    StreamId
}

/// A stream key: prints as `****`, compares as the bytes it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// Wraps a key exactly as the user or the encoder gave it.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key itself: for the wire and for looking it up, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// What a live project should look like: the whole of it, each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSpec {
    /// The project.
    pub id: ProjectId,
    /// Whose limits it counts against.
    pub account: AccountId,
    /// The key that its encoder publishes with, and that the classic HLS paths carry.
    pub stream_key: StreamKey,
    /// The id under which viewers find it; reveals nothing about the key.
    pub playback_id: String,
    /// What an encoder's goodbye means.
    pub goodbye: Goodbye,
    /// Every saved destination, wanted on or not.
    pub destinations: Vec<DestinationSpec>,
}

/// What happens when the encoder says that it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goodbye {
    /// The stream ends at once.
    #[default]
    Ends,
    /// It is taken for a drop: destinations are held for the grace time. For encoders that say goodbye when their network
    /// fails, and for shows that change encoders on the air.
    Holds,
}

/// A stream that does not come by itself: it is played from another server whenever somebody publishes it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSpec {
    /// Whose project it is.
    pub account: AccountId,
    /// Whose stream it is.
    pub project: ProjectId,
    /// The server, and the project's key, which is the stream's name there.
    pub source: Target,
}

/// One saved destination of a live project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// The destination.
    pub id: DestinationId,
    /// Where to: server, app and stream name.
    pub target: Target,
    /// A second server of the same platform that gets the same stream over a connection of its own.
    pub backup: Option<Target>,
    /// Whether a relay should run.
    pub enabled: bool,
    /// How much later it gets the stream.
    pub delay: Duration,
}

/// One of the connections to a destination, each with a relay of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// To the destination's server.
    Primary,
    /// To its backup server.
    Backup,
}

impl Leg {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        }
    }
}

/// What names a relay: a destination and the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId {
    /// The destination.
    pub destination: DestinationId,
    /// Which of its connections.
    pub leg: Leg,
}

impl RelayId {
    /// The relay to a destination's own server.
    pub const fn primary(destination: DestinationId) -> Self {
        Self { destination, leg: Leg::Primary }
    }

    /// The relay to its backup server.
    pub const fn backup(destination: DestinationId) -> Self {
        Self { destination, leg: Leg::Backup }
    }
}

/// Where a relay sends: the server's URL as the user wrote it and the key, never joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server and app.
    pub url: RtmpUrl,
    /// The stream name on that server.
    pub key: StreamKey,
}
