//! End to end: the real binary, real encoders in, real servers out.

mod backup;
mod cluster;
mod encoders;
mod everywhere;
mod far;
mod front;
mod hls;
mod hostile;
#[path = "../api/http.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a test fixture; the API's tests use the rest")]
mod http;
mod introduced;
mod neighbour;
mod outage;
mod platforms;
mod pull;
mod restart;
mod rotate;
mod service;
mod show;
mod troubles;
