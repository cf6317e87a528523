//! The control plane: HTTP, settings, logins, and the reconciliation of rows with running streams. The `gostream`
//! program is a thin wrapper around this library, so that tests run the same server.

mod api;
pub mod app;
pub mod backup;
pub mod cli;
pub mod config;
mod control;
mod data_dir;
mod database_health;
pub mod health;
mod history;
mod housekeeping;
mod listen;
mod login;
mod metrics;
pub mod notify;
mod platform;
pub mod process;
pub mod rotate;
pub mod telemetry;
mod tls;
mod unknown_key_attempts;
mod upstream_publishers;
mod web;
