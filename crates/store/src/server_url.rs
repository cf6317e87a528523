//! Logins in servers' URLs: a URL is stored and shown with `****` in the place of its login, which is stored sealed beside it.
//!
//! ```text
//! rtmp://name:password@host/app   →   rtmp://****@host/app   and   name:password
//! ```
//! The login is what is before the last `@` of the authority, as in `gostream-proto`.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    error::Error,
    secret::{Keyring, Place},
};

/// What is shown in the place of a login.
pub const LOGIN_MASK: &str = "****";

/// Where the login of a URL is, if it has one.
fn login_of(url: &str) -> Option<(usize, usize)> {
    let begin = url.find("://")? + 3;
    let authority = url[begin..].split(['/', '?']).next().unwrap_or_default();
    Some((begin, begin + authority.rfind('@')?))
}

/// Whether a URL has `****` for its login: the stored one is meant.
pub fn is_masked(url: &str) -> bool {
    login_of(url).is_some_and(|(begin, end)| &url[begin..end] == LOGIN_MASK)
}

/// The URL as it is shown, and its login.
pub(crate) fn split(url: &str) -> (String, Option<SecretString>) {
    match login_of(url) {
        Some((begin, end)) if &url[begin..end] != LOGIN_MASK => {
            let masked = format!("{}{LOGIN_MASK}{}", &url[..begin], &url[end..]);
            (masked, Some(SecretString::from(&url[begin..end])))
        }
        _ => (url.to_owned(), None),
    }
}

/// The URL as it is dialed.
pub(crate) fn join(masked: &str, login: Option<&SecretString>) -> SecretString {
    match (login_of(masked), login) {
        (Some((begin, end)), Some(login)) => {
            format!("{}{}{}", &masked[..begin], login.expose_secret(), &masked[end..]).into()
        }
        _ => masked.into(),
    }
}

/// The URL as it is shown, and its login as it is stored: `stored` where the URL has `****` for it.
pub(crate) fn sealed(
    keyring: &Keyring,
    place: Place,
    url: &str,
    stored: Option<Vec<u8>>,
) -> Result<(String, Option<Vec<u8>>), Error> {
    if is_masked(url) {
        return Ok((url.to_owned(), stored));
    }
    let (masked, login) = split(url);
    let login = login.map(|login| keyring.seal(place, login.expose_secret())).transpose()?;
    Ok((masked, login))
}

/// The same of a URL that need not be there.
pub(crate) fn sealed_if_any(
    keyring: &Keyring,
    place: Place,
    url: Option<String>,
    stored: Option<Vec<u8>>,
) -> Result<(Option<String>, Option<Vec<u8>>), Error> {
    let Some(url) = url else { return Ok((None, None)) };
    let (url, login) = sealed(keyring, place, &url, stored)?;
    Ok((Some(url), login))
}

/// What is read of a stored login.
pub(crate) fn unsealed(
    keyring: &Keyring,
    place: Place,
    sealed: Option<&Vec<u8>>,
) -> Result<Option<SecretString>, Error> {
    sealed.map(|sealed| keyring.unseal(place, sealed)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, Option<String>) {
        let (masked, login) = split(url);
        (masked, login.map(|login| login.expose_secret().to_owned()))
    }

    #[test]
    fn a_login_is_masked_and_comes_back() {
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
            assert_eq!(parts(masked), (masked.to_owned(), None), "what is masked has no login");
        }
    }
}
