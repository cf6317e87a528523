//! The media playlist (RFC 8216 section 4).

use std::fmt::Write as _;

use super::segmenter::Segment;

/// The tags before the segments.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The target duration in seconds: no segment rounds to more.
    pub target_s: u64,
    /// Discontinuities before the first listed segment.
    pub discontinuity_sequence: u64,
    /// The stream has ended.
    pub ended: bool,
}

/// The media playlist of `segments`; their names begin with `prefix`.
pub fn write<'a>(head: &Head, segments: impl Iterator<Item = &'a Segment> + Clone, prefix: &str) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    let first = segments.clone().next().map_or(0, |segment| segment.sequence);
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{}", head.target_s);
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}");
    let discontinuities = head.discontinuity_sequence;
    if discontinuities > 0 || segments.clone().any(|segment| segment.discontinuity) {
        let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}");
    }
    if segments.clone().all(|segment| segment.independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    for segment in segments {
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(segment.program_date_ms));
        let (seconds, ms) = (segment.duration_ms / 1_000, segment.duration_ms % 1_000);
        let _ = writeln!(text, "#EXTINF:{seconds}.{ms:03},\n{prefix}-{}.ts", segment.sequence);
    }
    if head.ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// A wall-clock time in ISO 8601, in UTC with milliseconds.
pub(super) fn date_time(ms: u64) -> String {
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hours, minutes) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (seconds, ms) = (ms_of_day / 1_000 % 60, ms_of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Year, month and day of a day since 1970-01-01, computed with 400-year cycles from 0000-03-01.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const CYCLE: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_converted() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_398_062_123, "2026-11-23T01:41:02.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(date_time(ms), expected);
        }
    }
}
