//! The live window: which segments are listed, and which are only kept.
//!
//! Ten segments are listed. Removed segments are kept for as long as a playlist lasts, as RFC 8216 section 6.2.2
//! requires. Both are bounded by bytes, too. At a high bitrate, first fewer removed segments are kept; then the list
//! shrinks to six segments (which Apple's authoring specification asks for), and for very large segments to three
//! target durations, the minimum that is allowed. Kept segments share the bytes of the packets.

use std::{collections::VecDeque, sync::Arc};

use super::segment::Segment;
use crate::hls::cut::target_s;

/// Listed segments if bytes do not limit them: 20 s with a keyframe every 2 s.
const LISTED_MAX: usize = 10;
/// Listed segments if bytes limit them.
const LISTED_MIN: usize = 6;
/// Above this many bytes of listed segments the list shrinks to [`LISTED_MIN`]: 12 s at 6 Mbit/s.
const LISTED_BYTES_MAX: usize = 9 * 1024 * 1024;
/// Above this many bytes of listed segments even fewer are listed: keyframes ten seconds apart, or 4K video.
const LISTED_BYTES_ENORMOUS: usize = 4 * LISTED_BYTES_MAX;
/// Above this many bytes, segments that are no longer listed are dropped. With the open segment, a stream at 6 Mbit/s
/// stays below 14 MiB.
const KEPT_BYTES_MAX: usize = 12 * 1024 * 1024;
/// A list is never shorter than this many target durations (RFC 8216 section 6.2.2).
const LISTED_TARGETS_MIN: u64 = 3;

/// The newest segments of a stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    segments: VecDeque<Arc<Segment>>,
    /// Number of segments at the front that are no longer listed.
    unlisted: usize,
    /// Discontinuities in segments that are no longer listed.
    pub(super) discontinuities_passed: u64,
    /// The target duration in seconds, from the first segment. It must not change (section 6.2.1).
    pub(super) target_s: u64,
    /// The highest bitrate of a segment so far, in bit/s.
    pub(super) peak_bitrate: u64,
}

impl Window {
    /// Appends a segment.
    pub(super) fn push(&mut self, segment: Segment) {
        if self.target_s == 0 {
            self.target_s = target_s(segment.duration_ms.into());
        }
        self.peak_bitrate = self.peak_bitrate.max(bitrate(segment.file_bytes(), segment.duration_ms.into()));
        self.segments.push_back(Arc::new(segment));
        while self.lists_too_much() {
            let left = self.segments.get(self.unlisted);
            self.discontinuities_passed += u64::from(left.is_some_and(|segment| segment.discontinuity));
            self.unlisted += 1;
        }
        while self.keeps_too_much() {
            self.segments.pop_front();
            self.unlisted -= 1;
        }
    }

    pub(super) fn listed(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> + Clone {
        self.segments.range(self.unlisted..)
    }

    pub(super) fn last(&self) -> Option<&Arc<Segment>> {
        self.segments.back()
    }

    /// Segment `msn`, if it is kept.
    pub(super) fn segment(&self, msn: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.front()?.sequence;
        self.segments.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }

    /// Memory held, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.held_bytes()).sum()
    }

    /// Mean bitrate of the listed segments, in bit/s.
    pub(super) fn mean_bitrate(&self) -> u64 {
        bitrate(self.listed().map(|segment| segment.file_bytes()).sum(), self.listed_ms())
    }

    /// Pictures per second in the listed segments; 0 without video.
    pub(super) fn frame_rate(&self) -> f64 {
        let pictures: usize = self.listed().map(|segment| segment.pictures()).sum();
        pictures as f64 * 1_000.0 / self.listed_ms().max(1) as f64
    }

    fn listed_ms(&self) -> u64 {
        self.listed().map(|segment| u64::from(segment.duration_ms)).sum()
    }

    fn lists_too_much(&self) -> bool {
        let Some(first) = self.segments.get(self.unlisted) else { return false };
        let left_ms = self.listed_ms() - u64::from(first.duration_ms);
        if left_ms < LISTED_TARGETS_MIN * self.target_s * 1_000 {
            return false;
        }
        let count = self.segments.len() - self.unlisted;
        let bytes: usize = self.listed().map(|segment| segment.held_bytes()).sum();
        count > LISTED_MAX || count > LISTED_MIN && bytes > LISTED_BYTES_MAX || bytes > LISTED_BYTES_ENORMOUS
    }

    fn keeps_too_much(&self) -> bool {
        let Some(first) = self.segments.front() else { return false };
        let kept_ms: u64 = self.segments.range(..self.unlisted).map(|segment| u64::from(segment.duration_ms)).sum();
        let enough = kept_ms.saturating_sub(first.duration_ms.into()) >= self.listed_ms();
        // At least one removed segment is kept: a player that just got the previous list may request it.
        self.unlisted > 0 && enough || self.unlisted > 1 && self.held_bytes() > KEPT_BYTES_MAX
    }
}

fn bitrate(bytes: usize, ms: u64) -> u64 {
    bytes as u64 * 8_000 / ms.max(1)
}
