//! Types that audio and video tags share.

/// The track that every player shows. Tags that are not multitrack always belong to it.
pub const MAIN_TRACK: u8 = 0;

/// What a tag contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A codec header.
    Header,
    /// A video frame that decoding can start at.
    Keyframe,
    /// A video frame that needs earlier ones, or any audio frame.
    Frame,
    /// End of the track.
    EndOfSequence,
    /// Anything else: commands, HDR metadata, channel layouts.
    Other,
}

/// Why a tag cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tag ends within its header.
    #[error("the tag is cut short")]
    Truncated,
}
