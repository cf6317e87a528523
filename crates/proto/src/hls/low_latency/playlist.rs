//! Writes the playlists of a stream (draft-pantos-hls-rfc8216bis section 4.4).

use std::fmt::Write as _;

use super::{
    request::MEDIA_NAME,
    segment::{Init, Part, Segment},
    stream::LowLatencyStream,
    timing::PART_TARGET_MS,
    window::Window,
};
use crate::{fmp4::Tracks, hls::playlist::date_time};

/// The protocol version that delta updates require (section 8).
const VERSION: u32 = 9;
/// How far from the end a player starts, in part targets: 2 is the minimum, 3 what the draft recommends (section
/// 4.4.3.8).
const PART_HOLD_BACK_PARTS: i64 = 3;
/// How far from the end a player without parts starts, in target durations.
const HOLD_BACK_TARGETS: u64 = 3;
/// Segments further from the end than this many target durations may be skipped: the minimum allowed.
const SKIP_TARGETS: u64 = 6;

/// Tags of a segment, written before it or before its first part.
struct Entry<'a> {
    discontinuity: bool,
    program_date_ms: u64,
    init: &'a Init,
}

/// The media playlist. With `skip` it is a delta update, if segments can be skipped.
pub(super) fn media(live: &LowLatencyStream, skip: bool) -> String {
    let mut text = String::with_capacity(2_048);
    let listed = live.window.listed();
    let open = live.open_parts();
    let target_ms = live.window.target_s * 1_000;
    head(&mut text, live);

    // Time from the beginning of the next segment to the end of the playlist, in ms.
    let mut left_ms = live.open_ms() + listed.clone().map(|segment| u64::from(segment.duration_ms)).sum::<u64>();
    let mut skipped = 0_usize;
    let mut version = None;
    if skip {
        for segment in listed.clone() {
            let left_behind_ms = left_ms - u64::from(segment.duration_ms);
            if left_behind_ms <= SKIP_TARGETS * target_ms {
                break;
            }
            (skipped, left_ms, version) = (skipped + 1, left_behind_ms, Some(segment.init.version));
        }
    }
    if skipped > 0 {
        let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    for segment in listed.skip(skipped) {
        let &Segment { sequence, discontinuity, program_date_ms, ref init, .. } = segment.as_ref();
        entry(&mut text, &mut version, &Entry { discontinuity, program_date_ms, init });
        if live.parts && sequence >= live.parts_from {
            parts(&mut text, sequence, segment.parts.iter().map(AsRef::as_ref));
        }
        let _ = writeln!(text, "#EXTINF:{},\n{sequence}.m4s", seconds(segment.duration_ms.into()));
    }
    if let Some(open) = open {
        let (sequence, discontinuity, program_date_ms) =
            (live.packager.next_sequence, open.discontinuity, open.program_date_ms);
        entry(&mut text, &mut version, &Entry { discontinuity, program_date_ms, init: &open.init });
        parts(&mut text, sequence, open.parts.iter().map(AsRef::as_ref));
    }
    if let Some((msn, part)) = live.hint() {
        let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{msn}.{part}.m4s\"");
    }
    if live.ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn head(text: &mut String, live: &LowLatencyStream) {
    let target_s = live.window.target_s;
    let _ = writeln!(text, "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target_s}");
    let (skip, hold_back) = (SKIP_TARGETS * target_s, HOLD_BACK_TARGETS * target_s);
    let _ = write!(text, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={skip}.0,HOLD-BACK={hold_back}.0");
    if live.parts {
        let target_ms = PART_TARGET_MS.unsigned_abs();
        let hold_back_ms = target_ms * PART_HOLD_BACK_PARTS.unsigned_abs();
        let _ = writeln!(text, ",PART-HOLD-BACK={}", seconds(hold_back_ms));
        let _ = writeln!(text, "#EXT-X-PART-INF:PART-TARGET={}", seconds(target_ms));
    } else {
        text.push('\n');
    }
    let first = live.window.listed().next().map_or(0, |segment| segment.sequence);
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}");
    let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", live.window.discontinuities_passed);
    let open = live.open_parts().is_none_or(|open| open.independent);
    if open && live.window.listed().all(|segment| segment.independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
}

/// The tags before a segment or its first part. `version` is the current init segment.
fn entry(text: &mut String, version: &mut Option<u32>, entry: &Entry<'_>) {
    if entry.discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if version.replace(entry.init.version) != Some(entry.init.version) {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"init-{}.mp4\"", entry.init.version);
    }
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(entry.program_date_ms));
}

fn parts<'a>(text: &mut String, msn: u64, parts: impl Iterator<Item = &'a Part>) {
    for (number, part) in parts.enumerate() {
        let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
        let duration = seconds(part.duration_ms.into());
        let _ = writeln!(text, "#EXT-X-PART:DURATION={duration},URI=\"{msn}.{number}.m4s\"{independent}");
    }
}

/// The multivariant playlist, which lists one variant.
pub(super) fn multivariant(window: &Window, tracks: &Tracks) -> String {
    let (peak, mean, codecs) = (window.peak_bitrate, window.mean_bitrate(), tracks.codecs());
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n\
         #EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={mean},CODECS=\"{codecs}\""
    );
    if let Some(video) = &tracks.video {
        let (width, height, rate) = (video.width, video.height, window.frame_rate());
        let _ = write!(text, ",RESOLUTION={width}x{height},FRAME-RATE={rate:.3}");
    }
    let _ = writeln!(text, "\n{MEDIA_NAME}");
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}
