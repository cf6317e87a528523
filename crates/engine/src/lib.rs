//! The data plane: sockets, packets and time. It takes live streams in over RTMP, keeps the newest seconds of each in memory,
//! and sends them to every destination of their project, each on its own.
//!
//! It knows no users, no SQL and no HTTP. The control plane tells it what should be ([`spec`]) and reads what is
//! ([`status`]) through the [`Engine`]'s handle; nothing else crosses.

pub mod admission;
mod backoff;
pub mod broadcast;
mod engine;
pub mod events;
mod inputs;
pub mod limits;
mod listen;
mod outputs;
mod patience;
mod random;
mod rtmp;
mod shards;
pub mod shares;
mod show;
pub mod spec;
pub mod status;
mod ticks;

pub use admission::{Admission, Refusal};
pub use engine::{Engine, EngineConfig, Ports, StartError};
pub use events::{EndReason, EngineEvent, Excess, RelayTotals};
pub use outputs::hls;
pub use show::live::Applied;
