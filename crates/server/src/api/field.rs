//! Validation of request fields. A parser returns the value to store, or a sentence for the user.

use gostream_proto::rtmp::url::RtmpUrl;
use secrecy::SecretString;
use serde::{Deserialize as _, Deserializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::error::{FieldError, Problem};
use crate::{login::password, platform};

/// RFC 5321 section 4.5.3.1.3, less the angle brackets.
const EMAIL_CHARS_MAX: usize = 254;
/// RFC 5321 section 4.5.3.1.1.
const EMAIL_LOCAL_MAX: usize = 64;
/// RFC 1035 section 2.3.4.
const LABEL_MAX: usize = 63;
/// The longest name, in characters: enough for a title, short enough for a card on the page.
const NAME_CHARS_MAX: usize = 100;
/// The longest delay: the engine can keep this much of a 7 Mbit/s stream.
const DELAY_SECONDS_MAX: u16 = 300;
/// Platforms' longest keys (signed ones) are near 300.
const STREAM_KEY_CHARS_MAX: usize = 1_024;

/// Collects errors, so that a form gets all of them at once.
#[derive(Default)]
pub(super) struct Fields(Vec<FieldError>);

impl Fields {
    /// The value; `None` after recording its error.
    pub(super) fn take<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.0.push(FieldError { field: field.to_owned(), message })).ok()
    }

    /// Like [`Self::take`], for an optional field: `Some(None)` if it is absent.
    pub(super) fn take_if_given<T>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        text.map_or(Some(None), |text| self.take(field, parse(text)).map(Some))
    }
}

impl From<Fields> for Problem {
    fn from(fields: Fields) -> Self {
        Self::fields(fields.0)
    }
}

/// Distinguishes `null` from an absent field: any given value is `Some`.
pub(super) fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(value).map(Some)
}

/// An RFC 3339 time after `now`.
pub(super) fn future(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339);
    let time = time.map_err(|_| "Give a time like 2027-11-27T18:00:00Z.".to_owned())?;
    if time > now { Ok(time) } else { Err("Give a time in the future.".to_owned()) }
}

/// An email address as HTML forms accept it, in lower case.
pub(crate) fn email(text: &str) -> Result<String, String> {
    let email = text.trim().to_lowercase();
    if email.is_empty() {
        return Err("Enter an email address.".to_owned());
    }
    if email.chars().count() > EMAIL_CHARS_MAX {
        return Err(format!("An email address has at most {EMAIL_CHARS_MAX} characters."));
    }
    let valid = email.split_once('@').is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
    if valid { Ok(email) } else { Err("This is not an email address; write it like name@example.org.".to_owned()) }
}

fn is_local(text: &str) -> bool {
    let symbol = |c| "!#$%&'*+/=?^_`{|}~-".contains(c);
    let atom = |atom: &str| !atom.is_empty() && atom.chars().all(|c| c.is_ascii_alphanumeric() || symbol(c));
    text.len() <= EMAIL_LOCAL_MAX && text.split('.').all(atom)
}

fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        let inner = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        inner && !label.is_empty() && label.len() <= LABEL_MAX && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// A new password with a valid form. Its strength takes time to judge, so that is done after the rate limits.
pub(super) fn new_password(text: &str) -> Result<String, String> {
    password::check_form(text).map(|()| text.to_owned())
}

/// The name of a project or a destination.
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() {
        return Err("Enter a name.".to_owned());
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("A name has at most {NAME_CHARS_MAX} characters."));
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) || has_odd_joiner(name) {
        return Err(
            "A name must not contain line breaks, invisible characters, marks that change the direction of text, or other \
                    control characters."
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// Whether a character is invisible, or a mark, embedding, override or isolate of direction (UAX 9 section 2). Such
/// characters make a name look different, or equal to another one. Names in right-to-left scripts do not need them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether the name has a misplaced zero-width joiner or variation selector. The two joiners are invisible, too, but
/// Persian, the scripts of India and some emoji use them between two of their own characters.
fn has_odd_joiner(name: &str) -> bool {
    let joins = |c: char| matches!(c, '\u{200C}' | '\u{200D}');
    let joined =
        |c: char| matches!(c, '\u{600}'..='\u{DFF}' | '\u{2190}'..='\u{2BFF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}');
    let letters: Vec<char> = name.chars().collect();
    let at = |n: Option<usize>| n.and_then(|n| letters.get(n)).is_some_and(|&c| joined(c));
    let after_letter = |n: usize| n.checked_sub(1).and_then(|n| letters.get(n)).is_none_or(char::is_ascii_alphabetic);
    letters.iter().enumerate().any(|(n, &c)| match c {
        // Variation selectors choose the appearance of the previous character. ASCII letters have no variants.
        '\u{FE00}'..='\u{FE0F}' => after_letter(n),
        _ => joins(c) && !(at(n.checked_sub(1)) && at(Some(n + 1))),
    })
}

/// The delay of a destination in seconds.
pub(super) fn delay(seconds: i64) -> Result<u16, String> {
    let fits = u16::try_from(seconds).ok().filter(|seconds| *seconds <= DELAY_SECONDS_MAX);
    fits.ok_or_else(|| format!("A delay has 0 to {DELAY_SECONDS_MAX} seconds."))
}

/// The id of a platform in the catalogue.
pub(super) fn platform(text: &str) -> Result<String, String> {
    if platform::is_known(text) {
        return Ok(text.to_owned());
    }
    Err("There is no such platform; `GET /api/platforms` lists them, and `custom` is any other server.".to_owned())
}

/// A server's URL, unchanged except for white space around it.
pub(super) fn rtmp_url(text: &str) -> Result<String, String> {
    let url = text.trim();
    let parsed = RtmpUrl::parse(url).map_err(|error| error.to_string())?;
    if is_split_login(&parsed, url) {
        return Err(
            "A password in the URL ends at its first / or ?, so this URL would lead to another server. Choose a password \
                    without these characters."
                .to_owned(),
        );
    }
    Ok(url.to_owned())
}

/// Whether a URL has a password that is cut off, as in `rtmp://me:12/34@server.example/app`. RTMP URLs have no escapes,
/// so the rest of the password would be stored and shown as the application, and the user name would be resolved as a
/// host. Public servers have a dot in their name.
fn is_split_login(parsed: &RtmpUrl, url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_name = !parsed.host().contains(['.', ':']) && parsed.host() != "localhost";
    parsed.login().is_none() && authority.contains(':') && is_name && path.contains('@')
}

/// A platform's stream key, unchanged because keys may contain `?`, `&`, `:` and `=`. Only white space around it is
/// removed, which copying often adds.
pub(super) fn stream_key(text: &str) -> Result<SecretString, String> {
    let key = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if key.is_empty() {
        return Err("Enter the stream key that the platform shows.".to_owned());
    }
    if key.chars().count() > STREAM_KEY_CHARS_MAX {
        return Err(format!("A stream key has at most {STREAM_KEY_CHARS_MAX} characters."));
    }
    if key.chars().any(char::is_control) {
        return Err("The stream key contains a line break or another control character.".to_owned());
    }
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn emails_are_accepted_as_in_html_forms() {
        for good in ["a@b", "Me.Too+x@Example.ORG ", "o'hara@mail.example.co.uk", &format!("{}@b.c", "x".repeat(64))] {
            assert_eq!(email(good).expect(good), good.trim().to_lowercase());
        }
        for bad in [
            "",
            " ",
            "a",
            "@b",
            "a@",
            "a@@b",
            "a b@c.d",
            "a@b..c",
            ".a@b.c",
            "a.@b.c",
            "a..b@c.d",
            "a@-b.c",
            "a@b-.c",
            "a@b.c\n@d",
            "a@b_c.d",
            "ä@b.c",
            "<a@b.c>",
            &format!("{}@b.c", "x".repeat(65)),
            &format!("a@{}", ["x".repeat(60).as_str(); 5].join(".")),
        ] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_trimmed_and_limited() {
        assert_eq!(name("  Sunday Mass \u{1f3a5} ").expect("good"), "Sunday Mass \u{1f3a5}");
        assert_eq!(name(&"ü".repeat(100)).expect("good").chars().count(), 100);
        for good in
            ["می\u{200C}خواهم", "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", "\u{2764}\u{FE0F}", "שלום", "क्\u{200D}ष"]
        {
            assert_eq!(name(good).expect(good), good);
        }
        for mark in
            ['\u{200B}', '\u{200C}', '\u{200D}', '\u{200E}', '\u{202E}', '\u{2066}', '\u{2060}', '\u{FEFF}', '\u{AD}']
        {
            for bad in [format!("a{mark}b"), format!("{mark}a"), format!("a{mark}"), mark.to_string()] {
                assert!(name(&bad).is_err(), "{bad:?}");
            }
        }
        for bad in ["", " \t ", "a\nb", "a\u{0}b", &"x".repeat(101)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stream_keys_are_stored_unchanged() {
        for key in ["?streamname=live_1&key=a%2Fb&schedule=rtmp", "1234:secret", "id?s_bl=1&a=", "a b", "k/..//x", "键"]
        {
            assert_eq!(stream_key(&format!(" {key}\r\n")).expect(key).expose_secret(), key);
        }
        for bad in ["", " \n", "a\nb", "a\tb", "a\u{0}", &"x".repeat(1_025)] {
            assert!(stream_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn urls_are_stored_unchanged() {
        for url in
            ["rtmp://b.rtmp.example/live2?backup=1", "rtmps://h:443/app/", "rtmp://stream.example", "rtmp://[::1]/a/b"]
        {
            assert_eq!(rtmp_url(&format!(" {url} ")).expect(url), url);
        }
        for other in
            ["rtmp://nginx:1935/live", "rtmp://h.example:80/a?b=c@d", "rtmp://[::1]:80/a@b", "rtmp://localhost:1/a@b"]
        {
            assert_eq!(rtmp_url(other).as_deref(), Ok(other));
        }
        for split in ["rtmp://me:12/34@h.example/app", "rtmp://me:12?34@h.example/app", "rtmp://me:1/@@h.example"] {
            let sentence = rtmp_url(split).expect_err("is refused");
            assert!(sentence.starts_with("A password in the URL"), "{split}: {sentence}");
        }
        for bad in ["", "http://a/b", "javascript:alert(1)", "rtmp://", "rtmp://{domain}/live", "rtmp://a:99999/b"] {
            assert!(rtmp_url(bad).is_err(), "{bad}");
        }
    }
}
