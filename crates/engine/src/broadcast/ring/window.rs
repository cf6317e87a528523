//! The rules for where a reader starts.
//!
//! 1. at the newest keyframe or, for a reader that waited, at the first keyframe since then; never before a codec
//!    header that replaced another;
//! 2. with audio, when no picture has arrived for three seconds (two, if there was never any video);
//! 3. at the newest picture, when a reader has waited ten seconds for a keyframe.

use std::{
    collections::{VecDeque, vec_deque},
    sync::Arc,
};

use gostream_proto::{packet::PacketKind, time::Timestamp};

use super::{
    entry::Entry,
    seen::Seen,
    start::{Start, StartReason},
};

/// A stream without video for this long, in ms, is audio only. Encoders with lookahead send video later than audio.
const AUDIO_ONLY_AFTER_MS: i64 = 2_000;
/// A stream with video starts with audio after this long without a picture, in ms.
const PICTURES_MISSING_AFTER_MS: i64 = 3_000;
/// Length of the audio, in ms, that a reader gets at once when it starts with audio.
const AUDIO_START_MS: i64 = 1_000;
/// A reader that waited this long for a keyframe, in ms, starts at any picture.
const KEYFRAME_WAIT_MS: i64 = 10_000;
/// How long a start waits for the first audio frame after the first keyframe, in ms.
const AUDIO_WAIT_MS: i64 = 300;
/// Audio that is later than its pictures by more than this, in ms, sets the beginning of a connection's clock.
const AUDIO_LATE_MS: i64 = 100;
/// Audio that has not arrived for this long, in ms, is missing and sets nothing.
const AUDIO_MISSING_AFTER_MS: i64 = 3_000;

/// A contiguous part of the ring.
pub(super) struct Window<'a> {
    pub(super) entries: &'a VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    pub(super) first: u64,
    /// The sequence number of the oldest packet in the window.
    pub(super) floor: u64,
    /// State after the newest packet in the window.
    pub(super) seen: &'a mut Seen,
}

impl Window<'_> {
    /// Where a reader can start now, by the rules above. A call without a result counts as waiting: `waits_from` then
    /// keeps the first packet that the reader could start at, however late it asks again.
    pub(super) fn start(&mut self, waits_from: &mut Option<u64>) -> Option<Start> {
        let newest = self.seen.keyframe.as_ref();
        let from = *waits_from.get_or_insert(newest.map_or(self.seen.end, |start| start.sequence));
        if let Some(newest) = newest.filter(|start| start.sequence >= self.floor) {
            let start = self.keyframe_between(from, newest.sequence).unwrap_or_else(|| newest.clone());
            let earliest = self.earliest(&start)?;
            return Some(Start { earliest, ..start });
        }
        let now_ms = self.seen.newest_ms?;
        let since_picture = now_ms - self.seen.picture.map_or(self.seen.began_ms?, |(_, arrived_ms)| arrived_ms);
        let no_pictures = if self.seen.has_video {
            since_picture >= PICTURES_MISSING_AFTER_MS
        } else {
            since_picture.max(self.seen.media_ms) >= AUDIO_ONLY_AFTER_MS
        };
        if no_pictures {
            return self.sound_start(now_ms);
        }
        let wanted_ms = *self.seen.wanted_ms.get_or_insert(now_ms);
        let (sequence, _) = self.seen.picture.filter(|_| now_ms - wanted_ms >= KEYFRAME_WAIT_MS)?;
        self.start_at(sequence.max(self.seen.changed), StartReason::NoKeyframe)
    }

    /// The first keyframe in that range that fits the newest headers.
    fn keyframe_between(&self, from: u64, to: u64) -> Option<Start> {
        let is_keyframe =
            |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Keyframe);
        let sequence = (from.max(self.floor).max(self.seen.changed)..to).find(is_keyframe)?;
        self.start_at(sequence, StartReason::Keyframe)
    }

    /// The earliest time from a keyframe on; audio may be much later than its pictures. `None` while announced audio
    /// may still arrive and set it.
    fn earliest(&self, start: &Start) -> Option<Timestamp> {
        let after = self.from(start.sequence);
        let sound = after.clone().find(|entry| entry.packet.kind == PacketKind::Audio);
        let newest_ms = self.seen.newest_ms?;
        let is_recent = |(_, arrived_ms): &(Timestamp, i64)| newest_ms - arrived_ms < AUDIO_MISSING_AFTER_MS;
        let sound = sound.map(|entry| entry.packet.dts).or(self.seen.sound.filter(is_recent).map(|(dts, _)| dts));
        if sound.is_none() && self.seen.sound.is_none() && self.seen.headers.audio.is_some() {
            let keyframe = after.clone().next()?;
            let passed = (newest_ms - keyframe.arrived_ms).max(self.seen.media_ms - keyframe.media_ms);
            if passed < AUDIO_WAIT_MS {
                return None;
            }
        }
        let behind = sound.filter(|&sound| start.earliest.ms_since(sound) > AUDIO_LATE_MS);
        Some(behind.unwrap_or(start.earliest))
    }

    /// The last second of audio; all of it while the broadcast is at most four seconds old.
    fn sound_start(&self, now_ms: i64) -> Option<Start> {
        let is_young = self
            .seen
            .began_ms
            .is_some_and(|began_ms| now_ms - began_ms <= PICTURES_MISSING_AFTER_MS + AUDIO_START_MS);
        let from_ms = if is_young { i64::MIN } else { now_ms - AUDIO_START_MS };
        let recent = self.entries.partition_point(|entry| entry.arrived_ms < from_ms) as u64;
        let from = (self.first + recent).max(self.floor).max(self.seen.changed);
        let is_sound = |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Audio);
        let sequence = (from..self.seen.end).find(is_sound)?;
        self.start_at(sequence, if self.seen.has_video { StartReason::PicturesAway } else { StartReason::AudioOnly })
    }

    fn start_at(&self, sequence: u64, reason: StartReason) -> Option<Start> {
        let entry = self.get(sequence)?;
        let (headers, earliest) = (self.seen.headers.clone(), entry.packet.dts);
        Some(Start { sequence, headers, video_frames_before: entry.video_frames_before, earliest, reason })
    }

    /// The packet with that sequence number, if it is in the window.
    fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        let is_inside = (self.floor..self.seen.end).contains(&sequence);
        is_inside.then(|| self.entries.get((sequence - self.first) as usize)).flatten()
    }

    /// All packets of the window from that sequence number on.
    fn from(&self, sequence: u64) -> vec_deque::Iter<'_, Arc<Entry>> {
        let end = (self.seen.end - self.first) as usize;
        self.entries.range(((sequence.max(self.floor) - self.first) as usize).min(end)..end)
    }
}
