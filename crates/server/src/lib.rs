//! The control plane: HTTP, settings, logins, and the reconciliation of rows with running streams. The `gostream`
//! program is a thin wrapper around this library, so that tests run the same server.

mod api;
pub mod app;
pub mod backup;
pub mod cli;
pub mod config;
mod control;
mod data_dir;
mod fronts;
pub mod health;
mod history;
mod housekeeping;
mod listen;
mod login;
mod metrics;
pub mod notify;
mod platform;
pub mod process;
mod pulse;
pub mod rotate;
mod strangers;
pub mod telemetry;
mod tls;
mod web;
