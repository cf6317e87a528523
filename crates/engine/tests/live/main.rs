//! The engine on real sockets, with the test kit's encoder and platforms, and every kind of failure between them.

mod away;
mod days;
mod delay;
mod encoder;
mod errors;
mod excess;
mod faults;
mod hostile;
mod legs;
mod pull;
mod quirks;
mod rebinding;
mod relay;
mod seats;
mod shares;
mod slow;
mod stage;
