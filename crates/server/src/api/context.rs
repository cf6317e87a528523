//! The shared state of all handlers.

use std::sync::Arc;

use gostream_engine::Engine;
use gostream_store::Reader;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{event_streams::EventStreams, request_queues::RequestQueues};
use crate::{
    config::{Quota, Signup},
    control::{commands::Control, sync::SyncErrors},
    database_health::DatabaseHealth,
    login::{browser::Browsers, limit::RateLimits, password::Passwords, token::Tokens},
    metrics::Metrics,
    unknown_key_attempts::UnknownKeyAttempts,
    upstream_publishers::UpstreamPublishers,
};

/// The shared state of all handlers.
#[derive(Debug)]
pub(crate) struct Context {
    /// The database, for reading.
    pub store: Reader,
    /// The state that commands change.
    pub control: Arc<Control>,
    /// The engine.
    pub engine: Engine,
    /// Live projects whose changes are not applied yet.
    pub sync_errors: Arc<SyncErrors>,
    /// Attempts with unknown stream keys.
    pub unknown_key_attempts: Arc<UnknownKeyAttempts>,
    /// Publishers at upstream servers.
    pub upstream_publishers: Arc<UpstreamPublishers>,
    /// The open event streams of each account.
    pub event_streams: EventStreams,
    /// Signs session tokens.
    pub tokens: Tokens,
    /// Recognizes browsers that logged in before.
    pub browsers: Browsers,
    /// Judges and hashes passwords.
    pub passwords: Passwords,
    /// The state of the database.
    pub database_health: Arc<DatabaseHealth>,
    /// Limits concurrent requests per account.
    pub request_queues: RequestQueues,
    /// Rate limits.
    pub limits: Arc<RateLimits>,
    /// The quota of each account.
    pub quota: Quota,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// The node id of this server.
    pub node: String,
    /// The base of links, if it is set.
    pub public_url: Option<Url>,
    /// The port that encoders connect to.
    pub rtmp_port: u16,
    /// Whether this server itself serves HTTPS.
    pub tls: bool,
    /// Whether sign-up is open.
    pub signup: Signup,
    /// The running handlers, with or without a connected client.
    pub handlers: TaskTracker,
    /// Cancelled when the server starts to stop.
    pub stopping: CancellationToken,
}

/// The state as handlers receive it.
pub(super) type Ctx = Arc<Context>;
