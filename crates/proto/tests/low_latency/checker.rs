//! The rules of a media playlist (draft-pantos-hls-rfc8216bis), checked from its text alone.

use std::collections::BTreeMap;

use quick_m3u8::{HlsLine, Reader, config::ParsingOptionsBuilder};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    pub ms: u64,
    pub uri: String,
    pub independent: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    pub msn: u64,
    pub ms: u64,
    pub uri: String,
    pub discontinuity: bool,
    pub map: Option<String>,
    pub date: String,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    pub target_ms: u64,
    pub part_target_ms: Option<u64>,
    pub first: u64,
    pub discontinuity_sequence: u64,
    pub independent: bool,
    pub control: BTreeMap<String, String>,
    pub skipped: u64,
    pub segments: Vec<Segment>,
    /// Parts of the segment that is not complete.
    pub open: Segment,
    pub hint: Option<String>,
    pub ended: bool,
}

fn ms(text: &str) -> u64 {
    let (seconds, thousandths) = text.split_once('.').unwrap_or((text, "0"));
    let padded = format!("{thousandths:0<3}");
    seconds.parse::<u64>().expect("seconds") * 1_000 + padded.parse::<u64>().expect("thousandths")
}

fn attributes(text: &str) -> BTreeMap<String, String> {
    // None of our attributes has a comma in quotes.
    text.split(',')
        .map(|pair| pair.split_once('=').expect("has a value"))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

impl List {
    /// Parses a playlist. A delta update takes its skipped segments from `base`.
    pub fn parse(text: &str, base: Option<&Self>) -> Self {
        another_parser_takes(text);
        assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:9\n") && text.ends_with('\n'), "{text}");
        let mut list = Self::default();
        let mut next = Segment::default();
        let mut map = None;
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => list.target_ms = ms(value),
                "#EXT-X-MEDIA-SEQUENCE" => list.first = value.parse().expect("a number"),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => list.discontinuity_sequence = value.parse().expect("a number"),
                "#EXT-X-INDEPENDENT-SEGMENTS" => list.independent = true,
                "#EXT-X-SERVER-CONTROL" => list.control = attributes(value),
                "#EXT-X-PART-INF" => list.part_target_ms = Some(ms(&attributes(value)["PART-TARGET"])),
                "#EXT-X-SKIP" => {
                    let base = base.expect("a delta update was requested");
                    list.skipped = attributes(value)["SKIPPED-SEGMENTS"].parse().expect("a number");
                    let known = base.segments.iter().filter(|segment| segment.msn >= list.first);
                    list.segments = known.take(list.skipped as usize).cloned().collect();
                    for segment in &mut list.segments {
                        segment.parts.clear();
                    }
                    assert_eq!(list.segments.len() as u64, list.skipped, "the player has the skipped segments");
                    map = list.segments.last().and_then(|segment| segment.map.clone());
                }
                "#EXT-X-DISCONTINUITY" => {
                    assert!(next.parts.is_empty(), "before the first part");
                    next.discontinuity = true;
                }
                "#EXT-X-MAP" => {
                    assert!(next.parts.is_empty(), "before the first part");
                    map = Some(attributes(value)["URI"].clone());
                }
                "#EXT-X-PROGRAM-DATE-TIME" => {
                    assert!(next.parts.is_empty() && next.date.is_empty(), "before the first part, and once");
                    next.date = value.to_owned();
                }
                "#EXT-X-PART" => {
                    let attributes = attributes(value);
                    let independent = attributes.get("INDEPENDENT").is_some_and(|value| value == "YES");
                    next.parts.push(Part {
                        ms: ms(&attributes["DURATION"]),
                        uri: attributes["URI"].clone(),
                        independent,
                    });
                }
                "#EXTINF" => next.ms = ms(value.trim_end_matches(',')),
                "#EXT-X-PRELOAD-HINT" => {
                    let attributes = attributes(value);
                    assert_eq!((attributes["TYPE"].as_str(), &list.hint), ("PART", &None), "one hint");
                    list.hint = Some(attributes["URI"].clone());
                }
                "#EXT-X-ENDLIST" => list.ended = true,
                "#EXTM3U" | "#EXT-X-VERSION" => {}
                uri => {
                    assert!(!uri.starts_with('#'), "{line} is a known tag");
                    let msn = list.first + list.segments.len() as u64;
                    let segment = Segment { msn, uri: uri.to_owned(), map: map.clone(), ..std::mem::take(&mut next) };
                    list.segments.push(segment);
                }
            }
        }
        list.open = Segment { msn: list.first + list.segments.len() as u64, map, ..next };
        list
    }

    pub fn part_uris(&self) -> impl Iterator<Item = &Part> {
        self.segments.iter().chain([&self.open]).flat_map(|segment| &segment.parts)
    }

    /// The rules for a single playlist.
    pub fn check(&self) {
        let control = |name: &str| self.control.get(name).map(|value| ms(value));
        assert_eq!(self.control.get("CAN-BLOCK-RELOAD").map(String::as_str), Some("YES"));
        assert!(control("CAN-SKIP-UNTIL").is_some_and(|until| until >= 6 * self.target_ms));
        assert!(control("HOLD-BACK").is_some_and(|back| back >= 3 * self.target_ms));
        assert!(!self.segments.is_empty());
        for segment in &self.segments {
            assert!((segment.ms + 500) / 1_000 * 1_000 <= self.target_ms, "{segment:?} is within the target");
            assert_eq!(segment.uri, format!("{}.m4s", segment.msn));
            assert!(segment.map.is_some() && !segment.date.is_empty(), "{segment:?}");
        }
        let Some(part_target) = self.part_target_ms else {
            assert!(self.part_uris().next().is_none() && self.hint.is_none(), "no parts without their target");
            return;
        };
        assert!(control("PART-HOLD-BACK").is_some_and(|back| back >= 3 * part_target));
        self.check_parts(part_target);
        let hint = (!self.ended).then(|| format!("{}.{}.m4s", self.open.msn, self.open.parts.len()));
        assert_eq!(self.hint, hint);
        assert!(self.open.parts.is_empty() || self.open.map.is_some() && !self.open.date.is_empty());
        assert!(!self.ended || self.open.parts.is_empty());
    }

    fn check_parts(&self, part_target: u64) {
        let open_ms: u64 = self.open.parts.iter().map(|part| part.ms).sum();
        let mut from_end_ms = open_ms + self.segments.iter().map(|segment| segment.ms).sum::<u64>();
        for segment in self.segments.iter().chain([&self.open]) {
            let complete = !segment.uri.is_empty();
            for (number, part) in segment.parts.iter().enumerate() {
                assert_eq!(part.uri, format!("{}.{number}.m4s", segment.msn));
                assert!(part.ms <= part_target, "{part:?}");
                let last = complete && number + 1 == segment.parts.len();
                assert!(last || part.ms * 100 >= part_target * 85, "{part:?} of {segment:?}");
            }
            if complete && !segment.parts.is_empty() {
                assert!(from_end_ms <= 3 * self.target_ms, "parts are listed near the end only");
                assert_eq!(segment.parts.iter().map(|part| part.ms).sum::<u64>(), segment.ms, "{segment:?}");
            }
            from_end_ms = from_end_ms.saturating_sub(segment.ms);
        }
    }

    /// The rules from one playlist to a later one.
    pub fn check_after(&self, before: &Self) {
        assert!(self.first >= before.first && self.open.msn >= before.open.msn);
        assert!(self.target_ms >= before.target_ms, "the target never shrinks");
        assert_eq!(self.part_target_ms, before.part_target_ms, "players stall when the part target changes");
        let gone = before.segments.iter().filter(|segment| segment.msn < self.first);
        let passed = gone.filter(|segment| segment.discontinuity).count() as u64;
        assert_eq!(self.discontinuity_sequence, before.discontinuity_sequence + passed);
        for old in before.segments.iter().chain([&before.open]) {
            let Some(new) = self.segments.iter().chain([&self.open]).find(|segment| segment.msn == old.msn) else {
                continue;
            };
            if !old.uri.is_empty() {
                let same = Segment { parts: new.parts.clone(), ..old.clone() };
                assert_eq!(new, &same, "a listed segment does not change");
                assert!(new.parts.is_empty() || new.parts == old.parts);
            } else if !new.parts.is_empty() {
                assert!(new.parts.starts_with(&old.parts), "parts are only added");
                assert!(old.parts.is_empty() || (&new.map, &new.date) == (&old.map, &old.date));
            }
        }
        // The hinted part is listed or still hinted, or the stream ended.
        if let Some(hint) = &before.hint
            && !self.ended
        {
            let segment = hint.split('.').next().and_then(|msn| msn.parse::<u64>().ok()).expect("a number");
            let forgotten =
                self.segments.iter().all(|s| s.msn != segment || s.parts.is_empty()) && self.open.msn != segment;
            let listed = self.part_uris().any(|part| &part.uri == hint);
            assert!(listed || forgotten || self.hint.as_ref() == Some(hint), "{hint} came");
        }
    }
}

fn another_parser_takes(text: &str) {
    let mut reader = Reader::from_str(text, ParsingOptionsBuilder::new().with_parsing_for_all_tags().build());
    while let Some(line) = reader.read_line().expect("another parser accepts it") {
        assert!(!matches!(line, HlsLine::UnknownTag(_)), "{line:?} of {text}");
    }
}
