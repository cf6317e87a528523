//! Errors of the codec header parsers.

/// Why a codec header cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header ends too early.
    #[error("the codec header is cut short")]
    Truncated,
    /// A field has a value that the specification does not allow.
    #[error("the codec header has an impossible value")]
    Invalid,
}
