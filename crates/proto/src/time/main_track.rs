//! The two main tracks of a broadcast.

/// Which main track a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MainTrack {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}
