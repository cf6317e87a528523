//! The live window: the newest segments, listed and a little longer downloadable.

use std::{collections::VecDeque, sync::Arc};

use super::{playlist, segmenter::Segment};

/// Segments in the playlist (Apple's authoring specification asks for six).
const LISTED: usize = 6;
/// Segments that are no longer listed but may still be asked for: a playlist's length, as RFC 8216 section 6.2.2 has it.
const KEPT: usize = 2 * LISTED;

/// The newest segments of a stream.
#[derive(Debug, Default)]
pub struct Window {
    segments: VecDeque<Arc<Segment>>,
    /// Discontinuities that have left the listed part.
    discontinuities_passed: u64,
    ended: bool,
    /// The longest segment so far, in ms; the target duration must not shrink.
    longest_ms: u32,
}

impl Window {
    /// Appends a segment.
    pub fn push(&mut self, segment: Segment) {
        self.longest_ms = self.longest_ms.max(segment.duration_ms);
        self.segments.push_back(Arc::new(segment));
        if let Some(unlisted) = self.segments.len().checked_sub(LISTED + 1).and_then(|index| self.segments.get(index)) {
            self.discontinuities_passed += u64::from(unlisted.discontinuity);
        }
        if self.segments.len() > KEPT {
            self.segments.pop_front();
        }
    }

    /// No more segments come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The media playlist, its segments named `{prefix}-{n}.ts`; `None` before the first segment.
    pub fn playlist(&self, prefix: &str) -> Option<String> {
        let unlisted = self.segments.len().saturating_sub(LISTED);
        let listed = self.segments.range(unlisted..);
        (!self.segments.is_empty()).then(|| {
            let head = playlist::Head {
                longest_ms: self.longest_ms,
                discontinuity_sequence: self.discontinuities_passed,
                ended: self.ended,
            };
            playlist::write(&head, listed.map(Arc::as_ref), prefix)
        })
    }

    /// Segment `n`, while it is kept.
    pub fn segment(&self, n: u64) -> Option<Arc<Segment>> {
        let first = self.segments.front()?.sequence;
        self.segments.get(usize::try_from(n.checked_sub(first)?).ok()?).cloned()
    }

    /// Bytes of media held.
    pub fn held_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.held_bytes()).sum()
    }
}
