//! Where segments end: one set of rules for every form that a broadcast is cut into, so that all of them cut alike.
//!
//! A segment ends before a keyframe. The target duration is announced with the first playlist and never changes (RFC 8216
//! section 6.2.1), so no later segment may be longer: where keyframes are further apart, it ends in the middle of a GOP.
//! Pictures say where the stream is. While they are away sound goes on from where they were.

use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

/// A segment ends at the first keyframe from here on.
const TARGET_MS: i64 = 2_000;
/// Keyframe intervals of 2 s come out a little short in milliseconds.
const TOLERANCE_MS: i64 = 100;
/// Without any keyframe a segment ends here all the same.
const LONGEST_MS: i64 = 10_000;
/// A segment may be longer than the target by this; durations round to the target up to 500 ms (RFC 8216 section 4.3.3.1).
const OVER_TARGET_MS: i64 = 400;
/// Sound that waits for pictures may be later than that by this.
const SOUND_WAITS_MS: i64 = 60;
/// A segment ends at this size whatever its times say: 50 Mbit/s for 5 s, with some room.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Nothing for longer than this is a hole in the stream (the encoder was away) once the target duration is known to be less:
/// two segments' worth.
const HOLE_MS: i64 = 2 * TARGET_MS;
/// How long the last frame before a hole is taken to last: one at 30 fps, rounded.
pub(super) const FRAME_MS: i64 = 33;
/// Pictures that do not come for longer than this are away, unless they usually come so slowly.
const AWAY_MS: i64 = 500;

/// A longer step between two pictures is a pause.
const PAUSE_MS: i64 = 1_000;

/// Why the open segment ends before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The packet is where decoding can start.
    Boundary,
    /// The segment became too long or too large; the packet goes on in the middle of a GOP.
    Forced,
    /// Nothing came for a while.
    Hole,
    /// Nothing came for so long that the segment had to end meanwhile; the packet goes on in the middle of a GOP.
    Pause,
}

/// The target duration of a stream, in seconds, by the duration of its first segment.
pub(super) fn target_s(first_ms: i64) -> u64 {
    (first_ms.max(TARGET_MS) as u64 + 500) / 1_000
}

/// Follows the packets of a stream, and says where its segments end.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The longest that a segment may become, once the first one is finished.
    limit_ms: Option<i64>,
    picture: Option<Picture>,
    /// The newest sound, and when it came.
    sound: Option<(Timestamp, u64)>,
    keyframe: Option<Timestamp>,
    /// The longest time from keyframe to keyframe of late.
    gop_ms: i64,
    /// Pictures are missed at once, however slowly they usually come: parts were promised.
    pub(super) prompt: bool,
}

/// The newest picture.
#[derive(Clone, Copy, Debug)]
struct Picture {
    dts: Timestamp,
    arrived_ms: u64,
    /// The newest sound when it came.
    sound: Option<Timestamp>,
    /// From the picture before it.
    step_ms: i64,
}

/// Where a packet is in its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In the time of pictures, if the stream has any.
    pub(super) at: Timestamp,
    /// Parts and segments may end before it.
    pub(super) leads: bool,
    /// When the next one like it is due.
    step_ms: i64,
}

impl Cutter {
    /// The packet is the next one of a stream with or without video; it came at `wall_ms`.
    pub(super) fn place(&mut self, packet: &Packet, has_video: bool, wall_ms: u64) -> Place {
        let dts = packet.dts;
        if packet.kind.is_picture() && has_video {
            let step_ms = self.picture.map_or(0, |before| dts.ms_since(before.dts).clamp(0, LONGEST_MS));
            // Sound from before a pause says nothing of where sound is now.
            let recent = self.sound.filter(|(_, came_ms)| wall_ms.saturating_sub(*came_ms) <= PAUSE_MS as u64);
            self.picture = Some(Picture { dts, arrived_ms: wall_ms, sound: recent.map(|(dts, _)| dts), step_ms });
            if packet.kind == PacketKind::Keyframe {
                let interval = self.keyframe.replace(dts).map_or(0, |before| dts.ms_since(before));
                // A pause says nothing of the encoder's GOPs, and old ones are forgotten.
                let interval = if step_ms > PAUSE_MS { 0 } else { interval.clamp(0, LONGEST_MS) };
                self.gop_ms = interval.max(self.gop_ms - self.gop_ms / 4);
            }
            return Place { at: dts, leads: true, step_ms };
        }
        if packet.kind != PacketKind::Audio {
            let at = self.picture.map_or(dts, |picture| picture.dts);
            return Place { at, leads: false, step_ms: 0 };
        }
        self.sound = Some((dts, wall_ms));
        let Some(picture) = self.picture.as_mut().filter(|_| has_video) else {
            return Place { at: dts, leads: true, step_ms: 0 };
        };
        let since = dts.ms_since(*picture.sound.get_or_insert(dts)).max(0);
        let silent_ms = wall_ms.saturating_sub(picture.arrived_ms) as i64;
        let usual_ms = if self.prompt { 0 } else { picture.step_ms * 5 / 2 };
        let away_ms = AWAY_MS.max(usual_ms);
        // A network that stalled brings sound and pictures together.
        let leads = silent_ms > away_ms && since > away_ms;
        // Nor is sound further than time is: what was late comes at once.
        Place { at: picture.dts + since.min(silent_ms + FRAME_MS), leads, step_ms: 0 }
    }

    /// Whether a picture came so far.
    pub(super) fn has_pictures(&self) -> bool {
        self.picture.is_some()
    }

    /// Whether the segment ends before the packet at that place. `begins`: a segment can begin with it; `changed`: the tracks
    /// that it belongs to are no longer those of the segment.
    pub(super) fn cut_before(&self, span: &Span, place: Place, begins: bool, changed: bool) -> Option<Cut> {
        let length = place.at.ms_since(span.start);
        let step = place.at.ms_since(span.newest);
        let limit = self.limit_ms.unwrap_or(LONGEST_MS);
        let is_fixed = self.limit_ms.is_some();
        // Where the next keyframe, or the next packet, would be too late.
        let is_keyframe = self.keyframe == Some(place.at);
        let last_keyframe = is_fixed && length + self.gop_ms > limit;
        let is_due = is_fixed && place.step_ms <= limit;
        let last_packet = length > limit || is_due && length + place.step_ms > limit;
        if step > HOLE_MS.max(limit) {
            Some(Cut::Hole)
        } else if is_fixed && length > limit + SOUND_WAITS_MS + FRAME_MS {
            Some(Cut::Pause)
        } else if begins
            && (changed || length >= TARGET_MS - TOLERANCE_MS || is_keyframe && length > 0 && last_keyframe)
        {
            Some(Cut::Boundary)
        } else if span.bytes >= BYTES_MAX
            || place.leads && last_packet
            || length > limit + if is_fixed { SOUND_WAITS_MS } else { TARGET_MS }
        {
            Some(Cut::Forced)
        } else {
            None
        }
    }

    /// Where a segment ends before the packet at that place. The first pictures may be much later than the sound they come with:
    /// what came until then lasts as long as it did.
    pub(super) fn end_before(span: &Span, place: Place) -> Timestamp {
        if span.newest.ms_since(place.at) > TOLERANCE_MS { span.newest } else { place.at }
    }

    /// Where a segment ends before a hole: with its last frame, or where it may no longer be longer.
    pub(super) fn end_before_hole(&self, span: &Span, place: Place) -> Timestamp {
        let limit = self.limit_ms.unwrap_or(LONGEST_MS);
        if place.at.ms_since(span.newest) > HOLE_MS.max(limit) { span.newest + FRAME_MS } else { span.start + limit }
    }

    /// Where a segment ends at last, when nothing follows or what follows is none of it.
    pub(super) fn end_at(&self, span: &Span, end: Timestamp) -> Timestamp {
        self.limit_ms.map_or(end, |limit| end.min(span.start + limit + SOUND_WAITS_MS + FRAME_MS))
    }

    /// A segment of that duration is finished; the first one sets the target.
    pub(super) fn finished(&mut self, duration_ms: i64) {
        self.limit_ms
            .get_or_insert_with(|| (target_s(duration_ms) as i64 * 1_000 + OVER_TARGET_MS).min(LONGEST_MS));
    }
}

/// How far the open segment reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The time of its first packet.
    pub(super) start: Timestamp,
    /// The newest time in it.
    pub(super) newest: Timestamp,
    /// Memory that its packets take.
    bytes: usize,
}

impl From<Timestamp> for Span {
    fn from(start: Timestamp) -> Self {
        Self { start, newest: start, bytes: 0 }
    }
}

impl Span {
    /// The packet goes into the segment at that place.
    pub(super) fn take(&mut self, packet: &Packet, place: Place) {
        self.newest = self.newest.max(place.at);
        // Empty packets take memory, too.
        self.bytes += packet.held_bytes();
    }

    /// More of the newest picture goes into the segment. Says whether there is room.
    pub(super) fn extend(&mut self, slices: &Packet) -> bool {
        let has_room = self.bytes < BYTES_MAX;
        self.bytes += if has_room { slices.held_bytes() } else { 0 };
        has_room
    }
}
