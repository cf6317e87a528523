//! Reports of the upstream server's hooks.

/// A report about one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A publisher started.
    Published,
    /// The publisher whose stream is played left.
    Unpublished,
}
