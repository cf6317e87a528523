//! The setting `signup`.

/// Who can create accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signup {
    /// Every visitor of the page.
    Open,
    /// Only the operator, with `gostream user add`.
    Closed,
}
