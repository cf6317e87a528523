//! What the servers that streams are pulled from say of them, apart from the stream itself.

/// What the other server told about a stream, by way of its hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A publisher is there.
    Published,
    /// The publisher that was played left.
    Unpublished,
}
