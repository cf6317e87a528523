//! Where a reader starts, and why there.

use gostream_proto::time::Timestamp;

use super::headers::Headers;

/// Where a reader can start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The number of the packet.
    pub sequence: u64,
    /// The headers that it needs first.
    pub headers: Headers,
    /// See [`super::Entry::video_frames_before`].
    pub video_frames_before: u64,
    /// The earliest time of what follows: a connection's clock begins there.
    pub earliest: Timestamp,
    /// What is odd about it.
    pub why: Why,
}

/// Why a reader starts where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Decoding can start there.
    Keyframe,
    /// There is no video.
    AudioOnly,
    /// There should be pictures, and none come.
    PicturesAway,
    /// Pictures come, and no keyframe among them.
    NoKeyframe,
}
