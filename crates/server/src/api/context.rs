//! The shared state of all handlers.

use std::sync::Arc;

use gostream_engine::Engine;
use gostream_store::Reader;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{followers::Followers, turns::Turns};
use crate::{
    config::{Quota, Signup},
    control::{commands::Control, sync::SyncErrors},
    fronts::Fronts,
    login::{browser::Browsers, limit::Limits, password::Passwords, token::Tokens},
    metrics::Metrics,
    pulse::Pulse,
    strangers::Strangers,
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
    pub strangers: Arc<Strangers>,
    /// Publishers at upstream servers.
    pub fronts: Arc<Fronts>,
    /// The open event streams of each account.
    pub followers: Followers,
    /// Signs session tokens.
    pub tokens: Tokens,
    /// Recognizes browsers that logged in before.
    pub browsers: Browsers,
    /// Judges and hashes passwords.
    pub passwords: Passwords,
    /// The state of the database.
    pub pulse: Arc<Pulse>,
    /// Limits concurrent requests per account.
    pub turns: Turns,
    /// Rate limits.
    pub limits: Arc<Limits>,
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
