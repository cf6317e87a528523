//! The chunk streams that we send on. All are below 8: nginx-rtmp refuses ids from 32.

/// Protocol control (fixed by RTMP 1.0 section 5.4).
pub const CONTROL: u8 = 2;
/// Commands.
pub const COMMAND: u8 = 3;
/// Audio and data.
pub const AUDIO: u8 = 4;
/// Commands on a message stream: publish, play, onStatus.
pub const STREAM: u8 = 5;
/// Video.
pub const VIDEO: u8 = 6;
/// Metadata.
pub const DATA: u8 = 7;
