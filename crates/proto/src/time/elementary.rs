//! The two main tracks, as the clock counts them.

/// Which track a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elementary {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}
