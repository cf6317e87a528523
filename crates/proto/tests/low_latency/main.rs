//! Low-latency HLS from a player's side: every playlist is checked against the rules of the draft, and every file is
//! read with another crate's parser.
#![expect(clippy::disallowed_methods, reason = "FFmpeg reads and writes files; the crate under test does not")]

mod checker;
mod clips;
mod media;
mod player;
mod rules;
mod streams;
