//! The packets that a reader may start at, and where it does: the rules.
//!
//! 1. at the newest keyframe, or, when it waited for one, at the first that came; unless a codec header was replaced since;
//! 2. with the sound, when no picture has come for three seconds (two, if there never was any video);
//! 3. at the newest picture, when a reader has waited ten seconds for a keyframe.

use std::{
    collections::{VecDeque, vec_deque},
    sync::Arc,
};

use gostream_proto::{packet::PacketKind, time::Timestamp};

use super::{
    entry::Entry,
    seen::Seen,
    start::{Start, Why},
};

/// Without any video for this long, a stream is audio only: encoders that look ahead send it later than the sound.
const AUDIO_ONLY_AFTER_MS: i64 = 2_000;
/// Without a picture for this long, a stream with video starts with its sound.
const PICTURES_AWAY_AFTER_MS: i64 = 3_000;
/// So much sound goes out at once to a reader that starts with it.
const SOUND_MS: i64 = 1_000;
/// After waiting for a keyframe for this long, a reader starts at any picture.
const KEYFRAME_PATIENCE_MS: i64 = 10_000;
/// The first sound of a stream is waited for this long after the first keyframe.
const SOUND_PATIENCE_MS: i64 = 300;
/// Sound that is further behind its pictures than this sets the beginning of a connection's clock.
const SOUND_BEHIND_MS: i64 = 100;
/// Sound that did not come for this long is away, and sets nothing.
const SOUND_AWAY_AFTER_MS: i64 = 3_000;

/// Some packets of the ring, next to each other.
pub(super) struct Window<'a> {
    pub(super) entries: &'a VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    pub(super) first: u64,
    /// The oldest packet of the window.
    pub(super) floor: u64,
    /// All that came until its newest packet.
    pub(super) seen: &'a mut Seen,
}

impl Window<'_> {
    /// Where a reader can start now, by the rules above. Asking without an answer is waiting: `waits_from` keeps the number of
    /// the first packet that the reader would have started at, however late it looks again.
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
            since_picture >= PICTURES_AWAY_AFTER_MS
        } else {
            since_picture.max(self.seen.media_ms) >= AUDIO_ONLY_AFTER_MS
        };
        if no_pictures {
            return self.sound_start(now_ms);
        }
        let wanted_ms = *self.seen.wanted_ms.get_or_insert(now_ms);
        let (sequence, _) = self.seen.picture.filter(|_| now_ms - wanted_ms >= KEYFRAME_PATIENCE_MS)?;
        self.start_at(sequence.max(self.seen.changed), Why::NoKeyframe)
    }

    /// The first keyframe of those numbers that the newest headers fit.
    fn keyframe_between(&self, from: u64, to: u64) -> Option<Start> {
        let is_keyframe =
            |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Keyframe);
        let sequence = (from.max(self.floor).max(self.seen.changed)..to).find(is_keyframe)?;
        self.start_at(sequence, Why::Keyframe)
    }

    /// The earliest time from a keyframe on: sound may be far later than its pictures. `None` as long as sound that was announced may
    /// still say where it is.
    fn earliest(&self, start: &Start) -> Option<Timestamp> {
        let after = self.from(start.sequence);
        let sound = after.clone().find(|entry| entry.packet.kind == PacketKind::Audio);
        let newest_ms = self.seen.newest_ms?;
        let comes = |(_, came_ms): &(Timestamp, i64)| newest_ms - came_ms < SOUND_AWAY_AFTER_MS;
        let sound = sound.map(|entry| entry.packet.dts).or(self.seen.sound.filter(comes).map(|(dts, _)| dts));
        if sound.is_none() && self.seen.sound.is_none() && self.seen.headers.audio.is_some() {
            let keyframe = after.clone().next()?;
            let passed = (newest_ms - keyframe.arrived_ms).max(self.seen.media_ms - keyframe.media_ms);
            if passed < SOUND_PATIENCE_MS {
                return None;
            }
        }
        let behind = sound.filter(|&sound| start.earliest.ms_since(sound) > SOUND_BEHIND_MS);
        Some(behind.unwrap_or(start.earliest))
    }

    /// The last second of sound. When the broadcast began as long ago as pictures are waited for, all of it.
    fn sound_start(&self, now_ms: i64) -> Option<Start> {
        let is_young =
            self.seen.began_ms.is_some_and(|began_ms| now_ms - began_ms <= PICTURES_AWAY_AFTER_MS + SOUND_MS);
        let from_ms = if is_young { i64::MIN } else { now_ms - SOUND_MS };
        let recent = self.entries.partition_point(|entry| entry.arrived_ms < from_ms) as u64;
        let from = (self.first + recent).max(self.floor).max(self.seen.changed);
        let is_sound = |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Audio);
        let sequence = (from..self.seen.end).find(is_sound)?;
        self.start_at(sequence, if self.seen.has_video { Why::PicturesAway } else { Why::AudioOnly })
    }

    fn start_at(&self, sequence: u64, why: Why) -> Option<Start> {
        let entry = self.get(sequence)?;
        let (headers, earliest) = (self.seen.headers.clone(), entry.packet.dts);
        Some(Start { sequence, headers, video_frames_before: entry.video_frames_before, earliest, why })
    }

    /// The packet of that number, if it is in the window.
    fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        let is_inside = (self.floor..self.seen.end).contains(&sequence);
        is_inside.then(|| self.entries.get((sequence - self.first) as usize)).flatten()
    }

    /// All packets of the window from that number on.
    fn from(&self, sequence: u64) -> vec_deque::Iter<'_, Arc<Entry>> {
        let end = (self.seen.end - self.first) as usize;
        self.entries.range(((sequence.max(self.floor) - self.first) as usize).min(end)..end)
    }
}
