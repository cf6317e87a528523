//! Logins in server URLs: a URL is stored and shown with `****` instead of its login, which is stored encrypted in
//! another column.
//!
//! ```text
//! rtmp://name:password@host/app   →   rtmp://****@host/app   and   name:password
//! ```
//! The login is everything before the last `@` of the authority, as in `gostream-proto`.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    error::Error,
    secret::{Keyring, Location},
};

/// Shown instead of a login.
pub const LOGIN_MASK: &str = "****";

/// Byte range of the login in a URL, if it has one.
fn login_of(url: &str) -> Option<(usize, usize)> {
    let begin = url.find("://")? + 3;
    let authority = url[begin..].split(['/', '?']).next().unwrap_or_default();
    Some((begin, begin + authority.rfind('@')?))
}

/// Whether the URL has `****` as its login, which refers to the stored one.
pub fn is_masked(url: &str) -> bool {
    login_of(url).is_some_and(|(begin, end)| &url[begin..end] == LOGIN_MASK)
}

/// Splits a URL into its masked form and its login.
pub(crate) fn split(url: &str) -> (String, Option<SecretString>) {
    match login_of(url) {
        Some((begin, end)) if &url[begin..end] != LOGIN_MASK => {
            let masked = format!("{}{LOGIN_MASK}{}", &url[..begin], &url[end..]);
            (masked, Some(SecretString::from(&url[begin..end])))
        }
        _ => (url.to_owned(), None),
    }
}

/// The URL to connect to.
pub(crate) fn join(masked: &str, login: Option<&SecretString>) -> SecretString {
    match (login_of(masked), login) {
        (Some((begin, end)), Some(login)) => {
            format!("{}{}{}", &masked[..begin], login.expose_secret(), &masked[end..]).into()
        }
        _ => masked.into(),
    }
}

/// The masked URL and the sealed login for the database; `stored` if the login in the URL is `****`.
pub(crate) fn sealed(
    keyring: &Keyring,
    location: Location,
    url: &str,
    stored: Option<Vec<u8>>,
) -> Result<(String, Option<Vec<u8>>), Error> {
    if is_masked(url) {
        return Ok((url.to_owned(), stored));
    }
    let (masked, login) = split(url);
    let login = login.map(|login| keyring.seal(location, login.expose_secret())).transpose()?;
    Ok((masked, login))
}

/// The same for an optional URL.
pub(crate) fn sealed_if_any(
    keyring: &Keyring,
    location: Location,
    url: Option<String>,
    stored: Option<Vec<u8>>,
) -> Result<(Option<String>, Option<Vec<u8>>), Error> {
    let Some(url) = url else { return Ok((None, None)) };
    let (url, login) = sealed(keyring, location, &url, stored)?;
    Ok((Some(url), login))
}

/// Decrypts a stored login.
pub(crate) fn unsealed(
    keyring: &Keyring,
    location: Location,
    sealed: Option<&Vec<u8>>,
) -> Result<Option<SecretString>, Error> {
    sealed.map(|sealed| keyring.unseal(location, sealed)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, Option<String>) {
        let (masked, login) = split(url);
        (masked, login.map(|login| login.expose_secret().to_owned()))
    }

    #[test]
    fn a_login_is_masked_and_restored() {
        for (url, masked, login) in [
            ("rtmp://me:secret@h/app", "rtmp://****@h/app", Some("me:secret")),
            ("rtmps://me:p@ss:w@h:1940/app?a=b@c", "rtmps://****@h:1940/app?a=b@c", Some("me:p@ss:w")),
            ("rtmp://me:p#@@w@h/app", "rtmp://****@h/app", Some("me:p#@@w")),
            ("rtmp://me@[::1]?x", "rtmp://****@[::1]?x", Some("me")),
            ("rtmp://@h/app", "rtmp://****@h/app", Some("")),
            ("rtmp://h/a@b", "rtmp://h/a@b", None),
            ("rtmp://h?a@b", "rtmp://h?a@b", None),
            ("rtmp://h", "rtmp://h", None),
        ] {
            assert_eq!(parts(url), (masked.to_owned(), login.map(str::to_owned)), "{url}");
            assert_eq!(join(masked, split(url).1.as_ref()).expose_secret(), url);
            assert_eq!(is_masked(masked), login.is_some());
            assert_eq!(parts(masked), (masked.to_owned(), None), "a masked URL has no login");
        }
    }
}
