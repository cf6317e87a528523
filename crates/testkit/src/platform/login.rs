//! The server's side of Adobe authentication, written from the protocol description and independent of our client.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};

use super::behaviour::Login;

/// The salt of the password hash; any text works.
const SALT: &str = "5a17";
/// The challenge, which the client signs and returns as `opaque`.
const CHALLENGE: &str = "c4a11e96";

impl Login {
    /// The refusal of an application with that query, in the format of Adobe's servers; `None` if it is accepted.
    pub(super) fn objection(&self, app: &str) -> Option<String> {
        let query = app.split_once('?').map_or("", |(_, query)| query);
        let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if field("authmod") != Some("adobe") {
            return Some("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ".to_owned());
        }
        let reason = match (field("user"), field("challenge"), field("response")) {
            (user, ..) if user != Some(self.user) => format!("nosuchuser&opaque={CHALLENGE}"),
            (_, Some(challenge), Some(response)) if response == self.response(challenge) => return None,
            (_, _, Some(_)) => format!("authfailed&opaque={CHALLENGE}"),
            _ => format!("needauth&user={}&salt={SALT}&challenge={CHALLENGE}&opaque={CHALLENGE}", self.user),
        };
        Some(format!("[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason={reason}"))
    }

    fn response(&self, client_challenge: &str) -> String {
        let hash = |text: String| STANDARD.encode(Md5::digest(text));
        let salted = hash(format!("{}{SALT}{}", self.user, self.password));
        hash(format!("{salted}{CHALLENGE}{client_challenge}"))
    }
}
