//! The data plane: sockets, packets and time. It receives live streams over RTMP, keeps the newest seconds of each in
//! memory, and sends them to every destination of their project independently.
//!
//! It knows no users, no SQL and no HTTP. Through the [`Engine`] handle, the control plane passes the desired state
//! ([`spec`]) and reads the current one ([`status`]); nothing else crosses.

pub mod admission;
mod backoff;
pub mod broadcast;
mod deadline;
mod engine;
pub mod events;
mod inputs;
pub mod limits;
mod listen;
mod outputs;

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
