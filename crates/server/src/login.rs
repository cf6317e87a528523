//! Who somebody is: password hashes, tokens and the limits on guessing. Knows nothing of HTTP.

pub(crate) mod browser;
pub(crate) mod limit;
pub(crate) mod password;
pub(crate) mod token;
