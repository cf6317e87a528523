//! What proves a login.

use uuid::Uuid;

/// What a login rests on; it ends with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A session, begun with the password.
    Session(Uuid),
    /// An API token.
    Token(Uuid),
}

impl Proof {
    /// Of the session, or of the token.
    pub(crate) fn id(self) -> Uuid {
        let (Self::Session(id) | Self::Token(id)) = self;
        id
    }
}
