//! What players request: file names, and delivery directives in the query (section 6.2.5).

/// The name of the multivariant playlist.
pub const MULTIVARIANT_NAME: &str = "index.m3u8";
/// The name of the media playlist, as listed in the multivariant playlist.
pub const MEDIA_NAME: &str = "media.m3u8";

/// A file of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// `index.m3u8`, the multivariant playlist.
    Multivariant,
    /// `media.m3u8`, the media playlist.
    Media,
    /// `init-{version}.mp4`
    Init(u32),
    /// `{msn}.m4s`
    Segment(u64),
    /// `{msn}.{part}.m4s`
    Part(u64, u64),
}

impl File {
    /// Parses a file name. Each number has exactly one spelling, so that caches store each file once.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(version) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            return Some(Self::Init(number(version)?.try_into().ok()?));
        }
        match name {
            MULTIVARIANT_NAME => Some(Self::Multivariant),
            MEDIA_NAME => Some(Self::Media),
            _ => {
                let numbers = name.strip_suffix(".m4s")?;
                match numbers.split_once('.') {
                    Some((msn, part)) => Some(Self::Part(number(msn)?, number(part)?)),
                    None => Some(Self::Segment(number(numbers)?)),
                }
            }
        }
    }
}

/// Delivery directives in a request for the media playlist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaylistRequest {
    /// `_HLS_msn`: respond once this segment is listed.
    pub msn: Option<u64>,
    /// `_HLS_part`: respond once this part of the segment is listed.
    pub part: Option<u64>,
    /// `_HLS_skip`: leave out what the player already has.
    pub skip: bool,
}

impl PlaylistRequest {
    /// Parses the directives in a query string without its question mark; other parameters are ignored. An error is the
    /// reason to return with status 400.
    pub fn parse(query: &str) -> Result<Self, &'static str> {
        let mut request = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "_HLS_msn" => request.msn = Some(number(value).ok_or("_HLS_msn is not a number")?),
                "_HLS_part" => request.part = Some(number(value).ok_or("_HLS_part is not a number")?),
                "_HLS_skip" => request.skip = matches!(value, "YES" | "v2"),
                _ => {}
            }
        }
        Ok(request)
    }
}

/// A decimal number without sign or leading zeros.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_listed_file_names_are_parsed() {
        for (name, file) in [
            ("index.m3u8", Some(File::Multivariant)),
            ("media.m3u8", Some(File::Media)),
            ("init-0.mp4", Some(File::Init(0))),
            ("17.m4s", Some(File::Segment(17))),
            ("17.3.m4s", Some(File::Part(17, 3))),
            ("18446744073709551615.m4s", Some(File::Segment(u64::MAX))),
            ("18446744073709551616.m4s", None),
            ("init-4294967296.mp4", None),
            ("init-.mp4", None),
            ("init-00.mp4", None),
            ("017.m4s", None),
            ("+17.m4s", None),
            ("17.3.1.m4s", None),
            ("17..m4s", None),
            (".m4s", None),
            ("17.mp4", None),
            ("../17.m4s", None),
            ("\u{661}.m4s", None),
            ("", None),
        ] {
            assert_eq!(File::parse(name), file, "{name}");
        }
    }

    #[test]
    fn directives_are_parsed_among_other_parameters() {
        let request = |msn, part, skip| Ok(PlaylistRequest { msn, part, skip });
        for (query, expected) in [
            ("", request(None, None, false)),
            ("token=a&_HLS_msn=17&_HLS_part=3&_HLS_skip=YES", request(Some(17), Some(3), true)),
            ("_HLS_skip=v2&_HLS_msn=0", request(Some(0), None, true)),
            ("_HLS_skip=NO&x&&=&_HLS_part=1", request(None, Some(1), false)),
            ("_HLS_msn=-1", Err("_HLS_msn is not a number")),
            ("_HLS_msn=", Err("_HLS_msn is not a number")),
            ("_HLS_msn=1&_HLS_part=x", Err("_HLS_part is not a number")),
        ] {
            assert_eq!(PlaylistRequest::parse(query), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_names_and_queries_do_not_panic(text in ".{0,40}", msn in any::<u64>(), part in any::<u64>()) {
            let _ = (File::parse(&text), PlaylistRequest::parse(&text));
            prop_assert_eq!(File::parse(&format!("{msn}.{part}.m4s")), Some(File::Part(msn, part)));
            let query = format!("{text}&_HLS_msn={msn}");
            prop_assert!(PlaylistRequest::parse(&query).is_err() || PlaylistRequest::parse(&query).is_ok_and(|r| r.msn == Some(msn)));
        }
    }
}
