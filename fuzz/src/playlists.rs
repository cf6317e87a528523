//! Invariants of every media playlist of a stream, and from one playlist to the next (RFC 8216 and
//! draft-pantos-hls-rfc8216bis).

use std::collections::BTreeMap;

/// The playlists of a stream so far.
#[derive(Debug, Default)]
pub struct Playlists {
    target_s: Option<u64>,
    /// First segment and discontinuity sequence of the newest playlist.
    first: u64,
    discontinuities: u64,
    /// Durations of segments and parts, by name.
    durations_ms: BTreeMap<String, u64>,
}

impl Playlists {
    /// Takes the next playlist.
    pub fn take(&mut self, text: &str) {
        let target_s = number(text, "#EXT-X-TARGETDURATION:").expect("is there");
        assert_eq!(*self.target_s.get_or_insert(target_s), target_s, "the target duration does not change");
        let first = number(text, "#EXT-X-MEDIA-SEQUENCE:").expect("is there");
        let discontinuities = number(text, "#EXT-X-DISCONTINUITY-SEQUENCE:").unwrap_or_default();
        assert!(first >= self.first && discontinuities >= self.discontinuities, "numbers do not count backwards");
        (self.first, self.discontinuities) = (first, discontinuities);
        let mut duration = None;
        for line in text.lines() {
            if let Some(seconds) = line.strip_prefix("#EXTINF:").and_then(|line| line.strip_suffix(',')) {
                duration = Some(ms(seconds));
            } else if !line.starts_with('#') {
                let ms = duration.take().expect("a segment has a duration");
                assert!((ms + 500) / 1_000 <= target_s, "{line} has {ms} ms, and the target is {target_s} s");
                self.stays(line, ms);
            }
        }
        self.take_parts(text);
    }

    /// No part is longer than announced, and none but the last of its segment is shorter than 85 % of it.
    fn take_parts(&mut self, text: &str) {
        let Some((_, target)) = text.split_once("#EXT-X-PART-INF:PART-TARGET=") else { return };
        let target_ms = ms(target.lines().next().expect("is a number"));
        let mut before: Option<(&str, u64)> = None;
        for line in text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PART:DURATION=")) {
            let (seconds, rest) = line.split_once(",URI=\"").expect("has a name");
            let (name, _) = rest.split_once(".m4s\"").expect("has a name");
            let (segment, _) = name.split_once('.').expect("a part of a segment");
            let part_ms = ms(seconds);
            assert!((1..=target_ms).contains(&part_ms), "{line}");
            if let Some((_, short_ms)) = before.filter(|(of, _)| *of == segment) {
                assert!(short_ms * 100 >= target_ms * 85, "{short_ms} ms before {line}");
            }
            before = Some((segment, part_ms));
            self.stays(name, part_ms);
        }
    }

    /// A listed file is listed again with the same duration.
    fn stays(&mut self, name: &str, ms: u64) {
        let before = *self.durations_ms.entry(name.to_owned()).or_insert(ms);
        assert_eq!(before, ms, "{name} does not change");
    }
}

fn number(text: &str, tag: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(tag)?.parse().ok())
}

/// Seconds with three decimals.
fn ms(seconds: &str) -> u64 {
    let (whole, rest) = seconds.split_once('.').expect("has decimals");
    assert_eq!(rest.len(), 3);
    whole.parse::<u64>().expect("is a number") * 1_000 + rest.parse::<u64>().expect("is a number")
}
