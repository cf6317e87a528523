//! Decides where segments end: one set of rules for every HLS output of a broadcast, so that all outputs cut alike.
//!
//! A segment ends before a keyframe. The target duration is announced in the first playlist and never changes (RFC 8216
//! section 6.2.1), so no later segment may be longer. Where keyframes are further apart, the segment ends within a GOP.
//!
//! The position in the stream is the time of the pictures. While pictures are missing, audio continues from their time.

use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};

/// A segment ends at the first keyframe from here on, in ms.
const TARGET_MS: i64 = 2_000;
/// Subtracted from the target, in ms: keyframe intervals of 2 s can be slightly shorter after rounding to milliseconds.
const TOLERANCE_MS: i64 = 100;
/// A segment without any keyframe ends here, in ms.
const LONGEST_MS: i64 = 10_000;
/// A segment may exceed the target by this, in ms. Durations round to the target up to 500 ms (RFC 8216 section
/// 4.3.3.1).
const OVER_TARGET_MS: i64 = 400;
/// Audio may wait for pictures up to this much later than they are, in ms.
const SOUND_WAITS_MS: i64 = 60;
/// A segment ends at this size in bytes, whatever its times say: 50 Mbit/s for 5 s, with some margin.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;
/// A gap longer than this, in ms, is a hole in the stream (an encoder outage) once the target duration is known to be
/// shorter: two segments.
const HOLE_MS: i64 = 2 * TARGET_MS;
/// Assumed duration of the last frame before a hole, in ms: one at 30 fps, rounded.
pub(super) const FRAME_MS: i64 = 33;
/// Pictures that do not arrive for longer than this, in ms, are missing, unless the frame interval is usually that
/// long.
const AWAY_MS: i64 = 500;

/// A longer step between two pictures, in ms, is a pause.
const PAUSE_MS: i64 = 1_000;

/// Why the open segment ends before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Decoding can start at the packet.
    Boundary,
    /// The segment became too long or too large; the packet continues within a GOP.
    Forced,
    /// No packets arrived for a while.
    Hole,
    /// No packets arrived for so long that the segment had to end; the packet continues within a GOP.
    Pause,
}

/// The target duration of a stream in seconds, from the duration of its first segment in ms.
pub(super) fn target_s(first_ms: i64) -> u64 {
    (first_ms.max(TARGET_MS) as u64 + 500) / 1_000
}

/// Follows the packets of a stream and decides where its segments end.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The maximum segment length in ms, once the first segment is finished.
    limit_ms: Option<i64>,
    picture: Option<NewestPicture>,
    /// Time and arrival of the newest audio packet.
    sound: Option<(Timestamp, u64)>,
    keyframe: Option<Timestamp>,
    /// The longest recent keyframe interval, in ms.
    gop_ms: i64,
    /// Pictures count as missing at once, whatever their usual interval is. Set once parts were announced.
    pub(super) prompt: bool,
}

/// The newest picture.
#[derive(Clone, Copy, Debug)]
struct NewestPicture {
    dts: Timestamp,
    arrived_ms: u64,
    /// Time of the newest audio packet when the picture arrived.
    sound: Option<Timestamp>,
    /// Step from the previous picture, in ms.
    step_ms: i64,
}

/// The position of a packet in its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Its time on the pictures' timeline, if the stream has pictures.
    pub(super) at: Timestamp,
    /// Parts and segments may end before this packet.
    pub(super) leads: bool,
    /// Time until the next packet of its kind is due, in ms.
    step_ms: i64,
}

impl Cutter {
    /// The position of the next packet, which arrived at `wall_ms`.
    pub(super) fn position(&mut self, packet: &Packet, has_video: bool, wall_ms: u64) -> Position {
        let dts = packet.dts;
        if packet.kind.is_picture() && has_video {
            let step_ms = self.picture.map_or(0, |before| dts.ms_since(before.dts).clamp(0, LONGEST_MS));
            // Audio from before a pause does not show where audio is now.
            let recent = self.sound.filter(|(_, came_ms)| wall_ms.saturating_sub(*came_ms) <= PAUSE_MS as u64);
            self.picture = Some(NewestPicture { dts, arrived_ms: wall_ms, sound: recent.map(|(dts, _)| dts), step_ms });
            if packet.kind == PacketKind::Keyframe {
                let interval = self.keyframe.replace(dts).map_or(0, |before| dts.ms_since(before));
                // A pause does not show the encoder's GOP length, and old GOPs are forgotten.
                let interval = if step_ms > PAUSE_MS { 0 } else { interval.clamp(0, LONGEST_MS) };
                self.gop_ms = interval.max(self.gop_ms - self.gop_ms / 4);
            }
            return Position { at: dts, leads: true, step_ms };
        }
        if packet.kind != PacketKind::Audio {
            let at = self.picture.map_or(dts, |picture| picture.dts);
            return Position { at, leads: false, step_ms: 0 };
        }
        self.sound = Some((dts, wall_ms));
        let Some(picture) = self.picture.as_mut().filter(|_| has_video) else {
            return Position { at: dts, leads: true, step_ms: 0 };
        };
        let since = dts.ms_since(*picture.sound.get_or_insert(dts)).max(0);
        let silent_ms = wall_ms.saturating_sub(picture.arrived_ms) as i64;
        let usual_ms = if self.prompt { 0 } else { picture.step_ms * 5 / 2 };
        let away_ms = AWAY_MS.max(usual_ms);
        // After a network stall, audio and pictures arrive together.
        let leads = silent_ms > away_ms && since > away_ms;
        // Audio does not advance faster than the wall clock: delayed audio arrives all at once.
        Position { at: picture.dts + since.min(silent_ms + FRAME_MS), leads, step_ms: 0 }
    }

    /// Whether a picture arrived so far.
    pub(super) fn has_pictures(&self) -> bool {
        self.picture.is_some()
    }

    /// Whether, and why, the segment ends before the packet at `position`. `begins`: a segment can begin with the
    /// packet. `changed`: the packet's tracks differ from those of the segment.
    pub(super) fn cut_before(&self, span: &Span, position: Position, begins: bool, changed: bool) -> Option<Cut> {
        let length = position.at.ms_since(span.start);
        let step = position.at.ms_since(span.newest);
        let limit = self.limit_ms.unwrap_or(LONGEST_MS);
        let is_fixed = self.limit_ms.is_some();
        // The next keyframe, or the next packet, would be too late.
        let is_keyframe = self.keyframe == Some(position.at);
        let last_keyframe = is_fixed && length + self.gop_ms > limit;
        let is_due = is_fixed && position.step_ms <= limit;
        let last_packet = length > limit || is_due && length + position.step_ms > limit;
        if step > HOLE_MS.max(limit) {
            Some(Cut::Hole)
        } else if is_fixed && length > limit + SOUND_WAITS_MS + FRAME_MS {
            Some(Cut::Pause)
        } else if begins
            && (changed || length >= TARGET_MS - TOLERANCE_MS || is_keyframe && length > 0 && last_keyframe)
        {
            Some(Cut::Boundary)
        } else if span.bytes >= BYTES_MAX
            || position.leads && last_packet
            || length > limit + if is_fixed { SOUND_WAITS_MS } else { TARGET_MS }
        {
            Some(Cut::Forced)
        } else {
            None
        }
    }

    /// Where a segment ends before the packet at `position`. The first pictures may be much later than the audio that
    /// they arrive with; packets before them keep their own duration.
    pub(super) fn end_before(span: &Span, position: Position) -> Timestamp {
        if span.newest.ms_since(position.at) > TOLERANCE_MS { span.newest } else { position.at }
    }

    /// Where a segment ends before a hole: after its last frame, but at most at the length limit.
    pub(super) fn end_before_hole(&self, span: &Span, position: Position) -> Timestamp {
        let limit = self.limit_ms.unwrap_or(LONGEST_MS);
        if position.at.ms_since(span.newest) > HOLE_MS.max(limit) { span.newest + FRAME_MS } else { span.start + limit }
    }

    /// Where the last segment of a stream, or of its tracks, ends.
    pub(super) fn end_at(&self, span: &Span, end: Timestamp) -> Timestamp {
        self.limit_ms.map_or(end, |limit| end.min(span.start + limit + SOUND_WAITS_MS + FRAME_MS))
    }

    /// Records a finished segment of `duration_ms`; the first one sets the target duration.
    pub(super) fn finished(&mut self, duration_ms: i64) {
        self.limit_ms
            .get_or_insert_with(|| (target_s(duration_ms) as i64 * 1_000 + OVER_TARGET_MS).min(LONGEST_MS));
    }
}

/// The extent of the open segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Time of its first packet.
    pub(super) start: Timestamp,
    /// The newest time in it.
    pub(super) newest: Timestamp,
    /// Memory of its packets, in bytes.
    bytes: usize,
}

impl From<Timestamp> for Span {
    fn from(start: Timestamp) -> Self {
        Self { start, newest: start, bytes: 0 }
    }
}

impl Span {
    /// Adds a packet to the segment.
    pub(super) fn take(&mut self, packet: &Packet, position: Position) {
        self.newest = self.newest.max(position.at);
        // Empty packets use memory, too.
        self.bytes += packet.held_bytes();
    }

    /// Adds slices of the newest picture to the segment. Returns whether there is room.
    pub(super) fn extend(&mut self, slices: &Packet) -> bool {
        let has_room = self.bytes < BYTES_MAX;
        self.bytes += if has_room { slices.held_bytes() } else { 0 };
        has_room
    }
}
