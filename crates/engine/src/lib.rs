//! The data plane: sockets, packets and time. It takes live streams in over RTMP, keeps the newest seconds of each in memory,
//! and sends them to every destination of their project, each on its own.
//!
//! It knows no users, no SQL and no HTTP. The control plane tells it what should be ([`spec`]) and reads what is
//! ([`status`]) through the [`Engine`]'s handle; nothing else crosses.

pub mod admission;
pub mod broadcast;
pub mod door;
pub mod engine;
pub mod events;
pub mod hls;
mod ingest;
pub mod limits;
pub mod net;
mod patience;
mod plan;
mod pull;
mod relay;
mod shards;
pub mod shares;
pub mod spec;
pub mod status;
mod supervisor;
mod uplink;

pub use engine::{Admission, EndReason, Engine, EngineConfig, EngineEvent, Excess, Refusal, StartError};
