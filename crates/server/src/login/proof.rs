//! The credential that authenticated a request.

use uuid::Uuid;

/// The credential of a login. The login ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A session, created with the password.
    Session(Uuid),
    /// An API token.
    Token(Uuid),
}

impl Proof {
    /// The id of the session or token.
    pub(crate) fn id(self) -> Uuid {
        let (Self::Session(id) | Self::Token(id)) = self;
        id
    }
}
