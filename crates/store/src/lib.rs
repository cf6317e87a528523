//! What GoStream keeps: users, sessions, projects, destinations and the history of streams, in SQLite or PostgreSQL.
//!
//! One code base for both: times are whole milliseconds, ids are UUIDs, every question is asked through SeaORM. Keys of
//! projects and destinations are sealed before they reach the database. The `owner` of a call scopes it: what belongs to
//! somebody else is as absent as what never was. Several processes may share one database; nothing here remembers rows.
//!
//! The crate knows neither media nor HTTP. Input arrives checked; what is stored is stored to the letter.

mod audit;
pub mod backup;
mod canary;
mod clear_logins;
mod database;
mod destination;
mod entity;
mod error;
mod history;
mod lock;
mod migration;
mod node;
mod open;
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
        Heard, Listener, NodeLock, Notification, Notifier, Reader, Store, WithoutLog, missing_file, without_log,
    },
    destination::{Destination, DestinationChange, NewDestination},
    entity::stream::StreamStatus,
    error::{Cause, Error, Trouble},
    history::{EndReason, EventState, Leg},
    node::Weight,
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
