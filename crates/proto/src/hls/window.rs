//! The live window: the newest segments. Segments remain available for a while after they leave the list.

use std::{collections::VecDeque, sync::Arc};

use super::{cut::target_s, playlist, segmenter::Segment};

/// Listed segments, or more while they are short. Apple's authoring specification asks for six.
const LISTED: usize = 6;
/// A list is never shorter than this many target durations (RFC 8216 section 6.2.2).
const LISTED_TARGETS_MIN: u64 = 3;
/// Above this many bytes, segments that are no longer listed are dropped early: a player that is that late skips.
const KEPT_BYTES_MAX: usize = 12 * 1024 * 1024;

/// The newest segments of a stream. Segments that left the list are kept for as long as the list lasts (RFC 8216
/// section 6.2.2).
#[derive(Debug, Default)]
pub struct Window {
    segments: VecDeque<Arc<Segment>>,
    /// Number of segments at the front that are no longer listed.
    unlisted: usize,
    /// Discontinuities in segments that are no longer listed.
    discontinuities_passed: u64,
    ended: bool,
    /// The target duration in seconds, from the first segment. It must not change (RFC 8216 section 6.2.1).
    target_s: Option<u64>,
}

impl Window {
    /// Appends a segment.
    pub fn push(&mut self, segment: Segment) {
        self.target_s.get_or_insert_with(|| target_s(segment.duration_ms.into()));
        self.segments.push_back(Arc::new(segment));
        while self.lists_too_much() {
            let left = self.segments.get(self.unlisted);
            self.discontinuities_passed += u64::from(left.is_some_and(|segment| segment.discontinuity));
            self.unlisted += 1;
        }
        while 2 * self.unlisted > self.segments.len() || self.unlisted > 0 && self.held_bytes() > KEPT_BYTES_MAX {
            self.segments.pop_front();
            self.unlisted -= 1;
        }
    }

    fn lists_too_much(&self) -> bool {
        let mut listed = self.segments.range(self.unlisted..);
        let is_long = listed.len() > LISTED;
        let left_ms = listed.by_ref().skip(1).map(|segment| u64::from(segment.duration_ms)).sum::<u64>();
        is_long && left_ms >= LISTED_TARGETS_MIN * self.target_s.unwrap_or_default() * 1_000
    }

    /// Marks the stream as ended.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The media playlist, with segments named `{prefix}-{n}.ts`; `None` before the first segment.
    pub fn playlist(&self, prefix: &str) -> Option<String> {
        let listed = self.segments.range(self.unlisted..);
        (!self.segments.is_empty()).then(|| {
            let head = playlist::Head {
                target_s: self.target_s.unwrap_or_default(),
                discontinuity_sequence: self.discontinuities_passed,
                ended: self.ended,
            };
            playlist::write(&head, listed.map(Arc::as_ref), prefix)
        })
    }

    /// Whether there is no segment yet.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Segment `n`, if it is kept.
    pub fn segment(&self, n: u64) -> Option<Arc<Segment>> {
        let first = self.segments.front()?.sequence;
        self.segments.get(usize::try_from(n.checked_sub(first)?).ok()?).cloned()
    }

    /// Memory held, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.held_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flv, hls::Segmenter, packet::Packet, time::Timestamp};

    /// A window of AVC segments of 2 s with one frame each; the codec header changes before those in `changes`.
    fn window(segments: i64, changes: &[i64]) -> Window {
        let mut segmenter = Segmenter::default();
        let mut window = Window::default();
        let packet = |ms, body: Vec<u8>| -> Packet { flv::video_packet(Timestamp::from_ms(ms), body.into()) };
        for n in 0..=segments {
            let profile = changes.iter().filter(|&&change| change <= n).count() as u8;
            let ms = n * 2_000;
            let header = [0x17, 0, 0, 0, 0, 1, 0x42, profile, 0x1E, 0xFF, 0xE0, 0];
            for packet in [packet(ms, header.into()), packet(ms, vec![0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65])] {
                if let Some(segment) = segmenter.push(&packet, 951_782_400_000 + ms as u64) {
                    window.push(segment);
                }
            }
        }
        window
    }

    #[test]
    fn playlist_lists_newest_segments_with_dates_and_discontinuities() {
        let expected = "\
            #EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
            #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-PROGRAM-DATE-TIME:2000-02-29T00:00:00.000Z\n#EXTINF:2.000,\nkey-0.ts\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:2000-02-29T00:00:02.000Z\n#EXTINF:2.000,\nkey-1.ts\n";
        let mut window = window(2, &[1]);
        assert_eq!(window.playlist("key").as_deref(), Some(expected));
        window.end();
        assert_eq!(window.playlist("key"), Some(format!("{expected}#EXT-X-ENDLIST\n")));
    }

    #[test]
    fn discontinuities_are_counted_when_they_leave_the_list() {
        // Segments 0 to 7: the list begins at 2. A discontinuity at the first listed segment is still in the list.
        for (changes, passed) in [(&[1][..], 1), (&[2], 0), (&[1, 2, 3], 1), (&[1, 5], 1)] {
            let playlist = window(8, changes).playlist("key").expect("has segments");
            assert!(playlist.contains("#EXT-X-MEDIA-SEQUENCE:2\n"), "{playlist}");
            assert!(playlist.contains(&format!("#EXT-X-DISCONTINUITY-SEQUENCE:{passed}\n")), "{changes:?}: {playlist}");
        }
        assert!(!window(8, &[]).playlist("key").expect("has segments").contains("DISCONTINUITY"));
    }

    #[test]
    fn large_segments_are_dropped_when_no_longer_listed() {
        let mut segmenter = Segmenter::default();
        let mut window = Window::default();
        for n in 0..=20 {
            let ms = n * 2_000;
            let header: Vec<u8> = [0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1E, 0xFF, 0xE0, 0].into();
            let mut frame = vec![0x17, 1, 0, 0, 0];
            frame.resize(2 * 1024 * 1024, 0);
            for body in [header, frame] {
                let packet: Packet = flv::video_packet(Timestamp::from_ms(ms), body.into());
                segmenter.push(&packet, 0).into_iter().for_each(|segment| window.push(segment));
            }
        }
        assert_eq!(window.segments.len(), LISTED);
        assert!(window.held_bytes() >= KEPT_BYTES_MAX, "listed segments are kept");
    }

    #[test]
    fn list_is_never_shorter_than_three_target_durations() {
        let mut segmenter = Segmenter::default();
        let mut window = Window::default();
        let header: Vec<u8> = [0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1E, 0xFF, 0xE0, 0].into();
        segmenter.push(&flv::video_packet(Timestamp::ZERO, header.into()), 0);
        // The first keyframe interval is 8 s, the others are 2 s.
        for ms in (0..60_000).step_by(40) {
            let key = ms == 0 || ms >= 8_000 && ms % 2_000 == 0;
            let body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0, 0, 0, 0, 1, 0x65];
            let packet = flv::video_packet(Timestamp::from_ms(ms), body.into());
            segmenter.push(&packet, ms as u64).into_iter().for_each(|segment| window.push(segment));
        }
        let playlist = window.playlist("key").expect("has segments");
        assert!(playlist.contains("#EXT-X-TARGETDURATION:8\n"), "{playlist}");
        assert_eq!(playlist.matches("#EXTINF:2.000").count(), 12, "{playlist}");
        let kept = (0..40).filter(|&n| window.segment(n).is_some()).count();
        assert_eq!(kept, 24, "as many as are listed");
    }

    #[test]
    fn segments_are_kept_for_a_playlist_length_after_listing() {
        let window = window(20, &[]);
        let kept: Vec<_> = (0..25).filter(|&n| window.segment(n).is_some_and(|found| found.sequence == n)).collect();
        assert_eq!(kept, (8..20).collect::<Vec<_>>());
        assert_eq!(Window::default().playlist("key"), None);
    }
}
