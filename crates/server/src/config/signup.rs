//! The setting `signup`.

/// Who may make accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signup {
    /// Anybody who reaches the page.
    Open,
    /// Nobody: accounts are made by `gostream user add`.
    Closed,
}
