//! The ring: the newest packets of a broadcast, bounded by time and bytes.
//!
//! Packets have sequence numbers that never repeat. A reader holds the number of the packet it wants next; when that one
//! is gone, the reader was too slow and starts again. Where a reader starts, and why a slow destination skipped, is decided
//! here and nowhere else:
//!
//! 1. at the newest keyframe, or, when it waited for one, at the first that came; unless a codec header was replaced since;
//! 2. with the sound, when no picture has come for three seconds (two, if there never was any video);
//! 3. at the newest picture, when a reader has waited ten seconds for a keyframe.

mod entry;
mod headers;

use std::{collections::VecDeque, sync::Arc};

use gostream_proto::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

pub use self::{entry::Entry, headers::Headers};

/// How much is kept, by arrival and by media time: a destination that is further behind would show its viewers old pictures.
const KEPT_MS_MAX: i64 = 10_000;
/// Memory that is kept: 10 s of 50 Mbit/s.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many packets are kept: 10 s of what a publisher may send, and half as much again.
const KEPT_PACKETS_MAX: usize = 15_000;
/// Chunks of packets that are older than this are dropped: hardly a destination is so far behind, and one that is lays them
/// out for itself.
const DERIVED_KEPT_MS: i64 = 500;
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

/// Where a reader can start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The number of the packet.
    pub sequence: u64,
    /// The headers that it needs first.
    pub headers: Headers,
    /// See [`Entry::video_frames_before`].
    pub video_frames_before: u64,
    /// The earliest time of what follows: a connection's clock begins there.
    pub earliest: Timestamp,
    /// What is odd about it.
    pub why: Why,
}

/// Why a reader starts where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Decoding can start there.
    Keyframe,
    /// There is no video.
    AudioOnly,
    /// There should be pictures, and none come.
    PicturesAway,
    /// Pictures come, and no keyframe among them.
    NoKeyframe,
}

/// The newest packets.
#[derive(Debug, Default)]
pub struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The sequence number of the front entry.
    first: u64,
    /// The sequence number of the oldest entry that may hold chunks.
    fresh: u64,
    /// Memory of all entries, without their chunks.
    bytes: usize,
    headers: Headers,
    /// The newest keyframe, unless a codec header was replaced since.
    keyframe: Option<Start>,
    /// The newest picture, and when it came.
    picture: Option<(u64, i64)>,
    /// The number after the newest codec header that replaced another.
    changed: u64,
    has_video: bool,
    /// The newest sound, and when it came.
    sound: Option<(Timestamp, i64)>,
    /// When the first packet came.
    began_ms: Option<i64>,
    /// The first picture and the first sound.
    firsts: [Option<Timestamp>; 2],
    /// How far the stream is: tracks may be apart, so each counts from its own beginning.
    media_ms: i64,
    /// Since when a reader waits for a keyframe.
    wanted_ms: Option<i64>,
    video_frames: u64,
}

impl Ring {
    /// Appends a packet that came at `arrived_ms`, in ms since the broadcast began, and drops what is over the bounds.
    pub fn push(&mut self, packet: Packet, arrived_ms: i64) {
        let kind = packet.kind;
        let sequence = self.head();
        self.advance(&packet);
        let (platform, player) = Default::default();
        let (video_frames_before, media_ms) = (self.video_frames, self.media_ms);
        let entry = Arc::new(Entry { packet, video_frames_before, arrived_ms, media_ms, platform, player });
        if kind.is_header() && self.headers.replace(&entry) {
            self.keyframe = None;
            self.changed = sequence + 1;
        }
        self.began_ms.get_or_insert(arrived_ms);
        self.has_video |= kind.is_video();
        match kind {
            PacketKind::Keyframe | PacketKind::InterFrame => {
                if kind == PacketKind::Keyframe {
                    self.keyframe = Some(Start {
                        sequence,
                        headers: self.headers.clone(),
                        video_frames_before: self.video_frames,
                        earliest: entry.packet.dts,
                        why: Why::Keyframe,
                    });
                    self.wanted_ms = None;
                }
                self.picture = Some((sequence, arrived_ms));
                self.video_frames += 1;
            }
            PacketKind::Audio => self.sound = Some((entry.packet.dts, arrived_ms)),
            _ => {}
        }
        self.bytes += entry.held_bytes();
        self.entries.push_back(entry);
        self.drop_derived();
        self.evict();
    }

    fn advance(&mut self, packet: &Packet) {
        let first = match packet.kind {
            kind if kind.is_picture() => &mut self.firsts[0],
            PacketKind::Audio => &mut self.firsts[1],
            _ => return,
        };
        self.media_ms = self.media_ms.max(packet.dts.ms_since(*first.get_or_insert(packet.dts)));
    }

    /// One past the newest sequence number.
    pub fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        let fresh = self.entries.range((self.fresh.max(self.first) - self.first) as usize..);
        let chunks: usize = fresh.map(|entry| entry.platform.held_bytes() + entry.player.held_bytes()).sum();
        self.bytes + chunks
    }

    /// How many video frames came so far.
    pub fn video_frames(&self) -> u64 {
        self.video_frames
    }

    /// The newest headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// When the newest packet came, in ms since the broadcast began.
    pub fn newest_ms(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.arrived_ms)
    }

    /// The packet of that number; `None` when it is gone or has not come yet.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Whether the packet of that number was dropped.
    pub fn is_gone(&self, sequence: u64) -> bool {
        sequence < self.first
    }

    /// Where a reader can start now, by the rules above. Asking without an answer is waiting: `waits_from` keeps the number of
    /// the first packet that the reader would have started at, however late it looks again.
    pub fn start(&mut self, waits_from: &mut Option<u64>) -> Option<Start> {
        let newest = self.keyframe.as_ref();
        let from = *waits_from.get_or_insert(newest.map_or(self.head(), |start| start.sequence));
        if let Some(newest) = newest.filter(|start| !self.is_gone(start.sequence)) {
            let start = self.keyframe_between(from, newest.sequence).unwrap_or_else(|| newest.clone());
            let earliest = self.earliest(&start)?;
            return Some(Start { earliest, ..start });
        }
        let now_ms = self.newest_ms()?;
        let since_picture = now_ms - self.picture.map_or(self.began_ms?, |(_, arrived_ms)| arrived_ms);
        let no_pictures = if self.has_video {
            since_picture >= PICTURES_AWAY_AFTER_MS
        } else {
            since_picture.max(self.media_ms) >= AUDIO_ONLY_AFTER_MS
        };
        if no_pictures {
            return self.sound_start(now_ms);
        }
        let wanted_ms = *self.wanted_ms.get_or_insert(now_ms);
        let (sequence, _) = self.picture.filter(|_| now_ms - wanted_ms >= KEYFRAME_PATIENCE_MS)?;
        self.start_at(sequence.max(self.changed), Why::NoKeyframe)
    }

    /// The first keyframe of those numbers that the newest headers fit.
    fn keyframe_between(&self, from: u64, to: u64) -> Option<Start> {
        let is_keyframe =
            |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Keyframe);
        let sequence = (from.max(self.first).max(self.changed)..to).find(is_keyframe)?;
        self.start_at(sequence, Why::Keyframe)
    }

    /// The earliest time from a keyframe on: sound may be far later than its pictures. `None` as long as sound that was announced may
    /// still say where it is.
    fn earliest(&self, start: &Start) -> Option<Timestamp> {
        let after = self.entries.range((start.sequence - self.first) as usize..);
        let sound = after.clone().find(|entry| entry.packet.kind == PacketKind::Audio);
        let newest_ms = self.newest_ms()?;
        let comes = |(_, came_ms): &(Timestamp, i64)| newest_ms - came_ms < SOUND_AWAY_AFTER_MS;
        let sound = sound.map(|entry| entry.packet.dts).or(self.sound.filter(comes).map(|(dts, _)| dts));
        if sound.is_none() && self.sound.is_none() && self.headers.audio.is_some() {
            let (keyframe, newest) = (after.clone().next()?, self.entries.back()?);
            let passed = (newest.arrived_ms - keyframe.arrived_ms).max(newest.media_ms - keyframe.media_ms);
            if passed < SOUND_PATIENCE_MS {
                return None;
            }
        }
        let behind = sound.filter(|&sound| start.earliest.ms_since(sound) > SOUND_BEHIND_MS);
        Some(behind.unwrap_or(start.earliest))
    }

    /// The last second of sound. When the broadcast began as long ago as pictures are waited for, all of it.
    fn sound_start(&self, now_ms: i64) -> Option<Start> {
        let is_young = self.began_ms.is_some_and(|began_ms| now_ms - began_ms <= PICTURES_AWAY_AFTER_MS + SOUND_MS);
        let from_ms = if is_young { i64::MIN } else { now_ms - SOUND_MS };
        let recent = self.entries.partition_point(|entry| entry.arrived_ms < from_ms) as u64;
        let from = (self.first + recent).max(self.changed);
        let is_sound = |&sequence: &u64| self.get(sequence).is_some_and(|entry| entry.packet.kind == PacketKind::Audio);
        let sequence = (from..self.head()).find(is_sound)?;
        self.start_at(sequence, if self.has_video { Why::PicturesAway } else { Why::AudioOnly })
    }

    fn start_at(&self, sequence: u64, why: Why) -> Option<Start> {
        let entry = self.get(sequence)?;
        let (headers, earliest) = (self.headers.clone(), entry.packet.dts);
        Some(Start { sequence, headers, video_frames_before: entry.video_frames_before, earliest, why })
    }

    fn drop_derived(&mut self) {
        self.fresh = self.fresh.max(self.first);
        let Some(newest_ms) = self.newest_ms() else { return };
        while let Some(entry) = self.entries.get_mut((self.fresh - self.first) as usize) {
            if newest_ms - entry.arrived_ms < DERIVED_KEPT_MS {
                return;
            }
            *entry = Arc::new(entry.bare());
            self.fresh += 1;
        }
    }

    fn evict(&mut self) {
        while self.entries.len() > 1 {
            let (Some(front), Some(back)) = (self.entries.front(), self.entries.back()) else { return };
            let spans = (back.arrived_ms - front.arrived_ms).max(back.media_ms - front.media_ms);
            let fits = self.bytes <= KEPT_BYTES_MAX && self.entries.len() <= KEPT_PACKETS_MAX;
            if spans <= KEPT_MS_MAX && fits {
                return;
            }
            self.bytes -= front.held_bytes();
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
