//! Adobe publish authentication (`authmod=adobe`), compatible with librtmp and Adobe Media Server.
//!
//! The server refuses `connect` with a description that contains its challenge. The client connects again with its
//! response in the query of the application:
//!
//! ```text
//! 1  app                                                 -> code=403 need auth; authmod=adobe
//! 2  app?authmod=adobe&user=U                            -> ?reason=needauth&user=U&salt=S&challenge=C[&opaque=O]
//! 3  app?authmod=adobe&user=U&challenge=C2&response=R[&opaque=O]
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

use super::url::Login;

/// The next step after a refused `connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginStep {
    /// Connect again with this query appended to the application.
    Query(String),
    /// The server does not accept this user or password.
    Refused,
}

/// Whether the description of a refused `connect` is about authentication.
pub fn is_about_login(description: &str) -> bool {
    description.contains("authmod=adobe")
}

/// Parses the description of a refused `connect`. `None` if it is not about authentication. `client_challenge` is 8
/// random hexadecimal digits.
pub fn next_step(description: &str, login: &Login, client_challenge: &str) -> Option<LoginStep> {
    if !is_about_login(description) {
        return None;
    }
    if description.contains("?reason=authfailed") || description.contains("?reason=nosuchuser") {
        return Some(LoginStep::Refused);
    }
    let user = &login.user;
    let Some((_, query)) = description.split_once("?reason=needauth") else {
        return Some(LoginStep::Query(format!("authmod=adobe&user={user}")));
    };
    let field = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let salted = digest(&[user, field("salt"), &login.password]);
    let opaque = field("opaque");
    let server_part = if opaque.is_empty() { field("challenge") } else { opaque };
    let response = digest(&[&salted, server_part, client_challenge]);
    let mut answer = format!("authmod=adobe&user={user}&challenge={client_challenge}&response={response}");
    if !opaque.is_empty() {
        answer.push_str("&opaque=");
        answer.push_str(opaque);
    }
    Some(LoginStep::Query(answer))
}

fn digest(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part.as_bytes()));
    STANDARD.encode(md5.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login { user: "me".to_owned(), password: "secret".to_owned() }
    }

    #[test]
    fn the_three_steps_are_distinguished() {
        let need = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
        assert_eq!(next_step(need, &login(), "00c0ffee"), Some(LoginStep::Query("authmod=adobe&user=me".to_owned())));
        let failed = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed&opaque=x";
        assert_eq!(next_step(failed, &login(), "00c0ffee"), Some(LoginStep::Refused));
        assert_eq!(next_step("connection rejected", &login(), "00c0ffee"), None);
    }

    #[test]
    fn response_signs_salt_and_both_challenges() {
        // The response as computed by `printf %s … | openssl md5 -binary | base64`, run twice.
        let asked = "[ authmod=adobe ] : ?reason=needauth&user=me&salt=abcd&challenge=1234&opaque=1234";
        let Some(LoginStep::Query(query)) = next_step(asked, &login(), "00c0ffee") else { panic!("answers") };
        let response = "Ve7jpZmGDGpaNEI9pHvD5w==";
        assert_eq!(query, format!("authmod=adobe&user=me&challenge=00c0ffee&response={response}&opaque=1234"));
    }
}
