//! Persistent data of GoStream: users, sessions, projects, destinations and the history of streams, in SQLite or
//! PostgreSQL.
//!
//! One code base for both: times are whole milliseconds, ids are UUIDs, and queries use SeaORM. Stream keys of projects
//! and destinations are encrypted before they reach the database. The `owner` argument restricts a call to the rows of
//! that account: rows of others are reported as not found. Several processes may share one database; rows are not
//! cached here.
//!
//! The crate knows neither media nor HTTP. Callers validate input; it is stored unchanged.

mod audit;
pub mod backup;
mod canary;
mod database;
mod destination;
mod entity;
mod error;
mod history;
mod lock;
mod migration;
mod node;
mod open;
mod plaintext_logins;
mod project;
mod pull;
mod revocation;
mod rotation;
mod secret;
mod server_url;
mod session;
mod stream;
mod stream_command;
mod timeline;
mod token;
mod user;
mod words;

pub use secrecy::SecretString;

pub use crate::{
    audit::{Action, AuditEntry, FieldChange},
    database::{
        Listener, ListenerEvent, NodeLock, Notification, Notifier, Reader, Store, WithoutLog, missing_file, without_log,
    },
    destination::{Destination, DestinationChange, NewDestination},
    entity::stream::StreamStatus,
    error::{Cause, Error, Trouble},
    history::{EndReason, EventState, Leg},
    node::HeartbeatSize,
    project::{NewProject, Project, ProjectChange},
    pull::PULL_LEASE,
    revocation::{Revoke, Revoked},
    rotation::{Resealed, Rotation},
    secret::Keyring,
    server_url::{LOGIN_MASK, is_masked},
    session::{NewSession, SESSIONS_MAX, Session},
    stream::{Stream, StreamPage},
    stream_command::{COMMAND_LIFETIME, StreamAction, StreamCommand, StreamCommands},
    timeline::{EventRelay, NewStreamEvent, StreamEvent},
    token::{ApiToken, NewToken, Scope, TOKEN_PREFIX},
    user::{Credentials, User},
};
