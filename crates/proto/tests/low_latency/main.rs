//! Low-latency HLS as a player sees it: every playlist by the rules of the draft, every file by a reader of others.
#![expect(clippy::disallowed_methods, reason = "FFmpeg takes and gives files; the crate under test does not")]

mod checker;
mod clips;
mod media;
mod player;
mod rules;
mod streams;
