//! What handlers work with: rows, what runs, and what they share.

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

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The rows, to be read.
    pub store: Reader,
    /// What commands change.
    pub control: Arc<Control>,
    /// What runs.
    pub engine: Engine,
    /// Live projects whose changes are not carried out yet.
    pub sync_errors: Arc<SyncErrors>,
    /// Encoders with unknown keys.
    pub strangers: Arc<Strangers>,
    /// Who publishes at servers that streams are pulled from.
    pub fronts: Arc<Fronts>,
    /// Who follows events.
    pub followers: Followers,
    /// Signs logins.
    pub tokens: Tokens,
    /// Knows browsers that logged in before.
    pub browsers: Browsers,
    /// Judges and hashes passwords.
    pub passwords: Passwords,
    /// Whether the database keeps changes.
    pub pulse: Arc<Pulse>,
    /// Who comes next to the database.
    pub turns: Turns,
    /// Slows down guessing.
    pub limits: Arc<Limits>,
    /// What an account may have.
    pub quota: Quota,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// This server among others on the same database.
    pub node: String,
    /// Base of links, if set.
    pub public_url: Option<Url>,
    /// Where encoders connect.
    pub rtmp_port: u16,
    /// Whether this server itself speaks HTTPS.
    pub tls: bool,
    /// Who may make accounts.
    pub signup: Signup,
    /// Handlers that run, whether or not their client is still there.
    pub handlers: TaskTracker,
    /// Cancelled when the server begins to stop.
    pub stopping: CancellationToken,
}

/// As handlers get it.
pub(super) type Ctx = Arc<Context>;
