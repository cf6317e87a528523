//! Segments and their parts. A segment is the concatenation of its parts.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    fmp4::{Fragment, Sample, Tracks},
    time::Timestamp,
};

/// An init segment.
#[derive(Debug)]
pub(super) struct Init {
    /// Version number, from 0.
    pub(super) version: u32,
    pub(super) tracks: Tracks,
    pub(super) bytes: Bytes,
}

/// A finished segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// Media sequence number.
    pub(super) sequence: u64,
    pub(super) duration_ms: u32,
    /// Wall-clock time of its first packet, in ms since 1970.
    pub(super) program_date_ms: u64,
    /// Codec headers changed since the previous segment, or there is a hole between the two.
    pub(super) discontinuity: bool,
    /// Begins with a keyframe.
    pub(super) independent: bool,
    /// The longest step between two packets of the leading track, in ms.
    pub(super) gap_max_ms: i64,
    pub(super) init: Arc<Init>,
    pub(super) parts: Vec<Arc<Part>>,
}

impl Segment {
    pub(super) fn bytes(&self) -> Vec<Bytes> {
        self.parts.iter().flat_map(|part| part.fragment.bytes()).collect()
    }

    pub(super) fn file_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.fragment.len()).sum()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.fragment.held_bytes()).sum()
    }

    pub(super) fn pictures(&self) -> usize {
        self.parts.iter().map(|part| part.fragment.video.len()).sum()
    }
}

/// A finished part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) duration_ms: u32,
    /// Begins with a keyframe.
    pub(super) independent: bool,
    pub(super) fragment: Fragment,
}

/// The open part.
#[derive(Debug)]
pub(super) struct OpenPart {
    pub(super) start: Timestamp,
    pub(super) video: Vec<Sample>,
    pub(super) audio: Vec<Sample>,
}

impl From<Timestamp> for OpenPart {
    fn from(start: Timestamp) -> Self {
        Self { start, video: Vec::new(), audio: Vec::new() }
    }
}

impl OpenPart {
    /// Appends an audio sample. The previous sample is extended up to it, so that silence that was not sent leaves no
    /// gap.
    pub(super) fn push_audio(&mut self, sample: Sample) {
        if let Some(last) = self.audio.last_mut() {
            last.duration = u32::try_from(sample.dts - last.dts).unwrap_or(last.duration);
        }
        self.audio.push(sample);
    }

    /// Splits off the audio from `border` on.
    pub(super) fn split_audio(&mut self, border: i64) -> Vec<Sample> {
        let later = self.audio.partition_point(|sample| sample.dts < border);
        self.audio.split_off(later)
    }

    pub(super) fn into_part(self, end: Timestamp, has_video: bool, number: u32) -> Part {
        Part {
            // Times may go back slightly; listed durations must not.
            duration_ms: end.ms_since(self.start).max(1).try_into().unwrap_or(u32::MAX),
            independent: if has_video { self.video.first().is_some_and(|sample| sample.sync) } else { true },
            fragment: Fragment::new(number, self.video, self.audio),
        }
    }
}
