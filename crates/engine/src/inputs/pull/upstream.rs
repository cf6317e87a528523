//! What the hooks of an upstream server report.

/// A report about one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A publisher is there.
    Published,
    /// The publisher that was played left.
    Unpublished,
}
