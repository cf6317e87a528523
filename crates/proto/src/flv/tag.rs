//! What audio and video tags have in common.

/// The track that every player shows; the only one outside multitrack tags.
pub const MAIN_TRACK: u8 = 0;

/// What a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A codec header.
    Header,
    /// Video that decoding can start at.
    Keyframe,
    /// Video that needs earlier frames; any audio frame.
    Frame,
    /// The track ends.
    EndOfSequence,
    /// Anything else: commands, HDR metadata, channel layouts.
    Other,
}

/// Why bytes are no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tag ends within its header.
    #[error("the tag is cut short")]
    Truncated,
}
