//! Where a reader starts, and for which reason.

use gostream_proto::time::Timestamp;

use super::headers::Headers;

/// A position where a reader can start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The sequence number of the first packet.
    pub sequence: u64,
    /// The headers that the reader needs first.
    pub headers: Headers,
    /// See [`super::Entry::video_frames_before`].
    pub video_frames_before: u64,
    /// The earliest time among the packets that follow; the connection's clock begins there.
    pub earliest: Timestamp,
    /// Why the reader starts there.
    pub reason: StartReason,
}

/// Why a reader starts at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// Decoding can start there.
    Keyframe,
    /// The stream has no video.
    AudioOnly,
    /// Video was announced, but no pictures arrive.
    PicturesAway,
    /// Pictures arrive, but no keyframe.
    NoKeyframe,
}
