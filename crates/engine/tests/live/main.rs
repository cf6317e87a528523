//! The engine against real sockets: an encoder of ours in, platforms of ours out, and everything that can go wrong between.

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
