//! Low-latency HLS (draft-pantos-hls-rfc8216bis) over fragmented MP4: one stream, from packets to playlists and files.
//!
//! [`Live`] takes packets and knows at any time what each file of the stream is. Nobody watches most streams, so a packet
//! costs a parsed tag and a place in a list; boxes and playlists are made when asked for. It never waits: an answer of
//! [`Answer::NotYet`] or [`Fetch::NotYet`] is for the caller to hold until [`Live::push`] says that something new is there,
//! and to give up on after three target durations ([`Live::hold_max_ms`]) with status 503 (section 6.2.5.2).
//!
//! Parts last about half a second. Their target duration is one constant for all streams, because a player that sees it
//! change stalls. A part ends before the first picture (without video: the first sound) from `PART_MS` on. When that comes
//! later than `PART_TARGET_MS`, the part ends there all the same, in the middle of a picture, so that none is longer than
//! announced nor shorter than 85 % of it. A stream whose first segment shows steps longer than `PART_GAP_MAX_MS` (slides)
//! has no parts: one could not be told in time.

mod name;
mod packager;
mod playlist;
mod segment;
mod window;

use bytes::Bytes;

pub use name::{File, Request};
pub use packager::Unsupported;
use packager::{Open, Packager};
use window::Window;

use crate::{packet::Packet, time::Timestamp};

/// The name of the multivariant playlist.
pub const MULTIVARIANT_NAME: &str = "index.m3u8";
/// The name of the media playlist, as the multivariant playlist has it.
pub const MEDIA_NAME: &str = "media.m3u8";

/// A part ends before the first packet from here on: half a second, less what rounding to milliseconds takes away.
const PART_MS: i64 = 495;
/// What the playlist announces, and no part is longer: a picture at 20 fps more than `PART_MS`.
const PART_TARGET_MS: i64 = 550;
/// The longest step in a stream with parts: a part is known one step after it began to be overdue, and a new one must come
/// within a part target of the last (section 6.2.1).
const PART_GAP_MAX_MS: i64 = PART_TARGET_MS / 2;
/// How many parts ahead of the newest a player may ask for: three divided by the part target in seconds (section 6.2.5.2).
const PARTS_AHEAD_MAX: u64 = (3_000 / PART_TARGET_MS + 1) as u64;
/// How many segments ahead of the newest.
const SEGMENTS_AHEAD_MAX: u64 = 2;
/// Parts further from the end than this many target durations are no longer listed (section 6.2.2).
const PART_TARGETS: u64 = 3;
/// How many target durations a request may be held (section 6.2.5.2).
const HOLD_TARGETS_MAX: u64 = 3;

/// What to answer to a request for the media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The playlist.
    Ready(String),
    /// What it waits for is not there: ask again when something new is.
    NotYet,
    /// Status 400, and why.
    BadRequest(&'static str),
    /// There is nothing to list so far.
    Empty,
}

/// What to answer to a request for a segment or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Its bytes, in pieces that share those of the packets.
    Ready(Vec<Bytes>),
    /// It was hinted and comes next: ask again when something new is there.
    NotYet,
    /// Status 404.
    Gone,
}

/// The low-latency output of one stream.
#[derive(Debug, Default)]
pub struct Live {
    packager: Packager,
    window: Window,
    /// Whether parts are listed, once the first segment has told.
    parts: bool,
    /// The first segment whose parts are still listed; those that went do not come back when the target duration grows.
    parts_from: u64,
    ended: bool,
}

impl Live {
    /// An output that numbers its files from `first` on. Caches keep files for good, so a number must never come back under
    /// the same address: a stream that follows another one begins behind its last.
    pub fn numbered_from(first: u64) -> Self {
        Self { packager: Packager::numbered_from(first), ..Self::default() }
    }

    /// Takes the next packet, which came at `wall_ms` (ms since 1970); codec headers first. Says whether something new is
    /// listed.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64) -> bool {
        if self.ended {
            return false;
        }
        let output = self.packager.push(packet, wall_ms);
        let listed = output.segment.is_some() || output.part && self.parts;
        self.take(output.segment);
        if listed {
            self.unlist_parts();
        }
        listed
    }

    /// The next segment may begin with a picture that needs earlier ones: nothing better comes.
    pub fn begin_anywhere(&mut self) {
        self.packager.anywhere = true;
    }

    /// The stream is over: what is open is listed, and nothing follows.
    pub fn finish(&mut self) {
        /// How long the newest packet lasts: one frame at 30 fps.
        const FRAME_MS: i64 = 33;
        let end = self.packager.newest().map_or(Timestamp::ZERO, |newest| newest + FRAME_MS);
        let segment = self.packager.finish(end);
        self.take(segment);
        self.unlist_parts();
        self.ended = true;
    }

    /// Whether there is a playlist.
    pub fn is_ready(&self) -> bool {
        self.window.last().is_some()
    }

    /// Whether the stream is over and nothing follows.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// What the stream has that is left out.
    pub fn unsupported(&self) -> Unsupported {
        self.packager.unsupported
    }

    /// How long a request may be held, in ms.
    pub fn hold_max_ms(&self) -> u64 {
        HOLD_TARGETS_MAX * self.window.target_s.max(1) * 1_000
    }

    /// Memory of finished segments, in bytes; most of it is shared with the packets.
    pub fn held_bytes(&self) -> usize {
        self.window.held_bytes()
    }

    /// The media playlist.
    pub fn playlist(&self, request: &Request) -> Answer {
        let Some(last) = self.window.last() else { return Answer::Empty };
        // Directives have no meaning in a playlist that no longer changes (section 6.2.5).
        if self.ended {
            return Answer::Ready(playlist::media(self, false));
        }
        let answer = match (request.msn, request.part.filter(|_| self.parts)) {
            (None, _) if request.part.is_some() => Answer::BadRequest("_HLS_part needs _HLS_msn"),
            (None, _) => Answer::Ready(String::new()),
            (Some(msn), _) if msn > self.newest_msn(last.sequence) + SEGMENTS_AHEAD_MAX => {
                Answer::BadRequest("_HLS_msn is too far ahead")
            }
            (Some(msn), None) if msn <= last.sequence => Answer::Ready(String::new()),
            (Some(_), None) => Answer::NotYet,
            (Some(msn), Some(part)) => self.has_part(msn, part),
        };
        match answer {
            Answer::Ready(_) => Answer::Ready(playlist::media(self, request.skip)),
            other => other,
        }
    }

    /// The multivariant playlist; `None` before the first segment.
    pub fn multivariant(&self) -> Option<String> {
        let last = self.window.last()?;
        Some(playlist::multivariant(&self.window, &last.init.tracks))
    }

    /// Init segment `version`, while a segment needs it.
    pub fn init(&self, version: u32) -> Option<Bytes> {
        let kept = self.window.segments().map(|segment| &segment.init);
        let open = self.packager.open.iter().map(|open| &open.init);
        kept.chain(open).find(|init| init.version == version).map(|init| init.bytes.clone())
    }

    /// Segment `msn`.
    pub fn segment(&self, msn: u64) -> Fetch {
        match self.window.segment(msn) {
            Some(segment) => Fetch::Ready(segment.bytes()),
            None => Fetch::Gone,
        }
    }

    /// Part `part` of segment `msn`.
    pub fn part(&self, msn: u64, part: u64) -> Fetch {
        let parts = match (self.window.segment(msn), &self.packager.open) {
            (Some(segment), _) => &segment.parts[..],
            (None, Some(open)) if msn == self.packager.next_sequence => &open.parts,
            _ => &[],
        };
        match usize::try_from(part).ok().and_then(|part| parts.get(part)) {
            Some(part) => Fetch::Ready(part.fragment.bytes()),
            None if self.hint() == Some((msn, part)) => Fetch::NotYet,
            None => Fetch::Gone,
        }
    }

    fn take(&mut self, segment: Option<segment::Segment>) {
        let Some(segment) = segment else { return };
        if self.window.last().is_none() {
            self.parts = segment.gap_max_ms <= PART_GAP_MAX_MS;
            self.packager.cutter.prompt = self.parts;
        }
        self.window.push(segment);
    }

    fn unlist_parts(&mut self) {
        let listed_ms = PART_TARGETS * self.window.target_s * 1_000;
        let mut behind_ms = self.open_ms();
        for segment in self.window.listed().rev() {
            behind_ms += u64::from(segment.duration_ms);
            if behind_ms > listed_ms {
                self.parts_from = self.parts_from.max(segment.sequence + 1);
                break;
            }
        }
    }

    /// How much of the open segment is listed.
    fn open_ms(&self) -> u64 {
        self.open_parts().map_or(0, |open| open.parts.iter().map(|part| u64::from(part.duration_ms)).sum())
    }

    /// Parts of the open segment that are listed.
    fn open_parts(&self) -> Option<&Open> {
        self.packager.open.as_ref().filter(|open| self.parts && !open.parts.is_empty())
    }

    /// The part that comes next. A part never ends without something that goes into another one of its segment, so this
    /// one is sure to come unless the stream ends.
    fn hint(&self) -> Option<(u64, u64)> {
        let parts = self.packager.open.as_ref().map_or(0, |open| open.parts.len());
        (self.parts && !self.ended).then_some((self.packager.next_sequence, parts as u64))
    }

    /// The newest segment of which anything is listed.
    fn newest_msn(&self, last: u64) -> u64 {
        if self.open_parts().is_some() { self.packager.next_sequence } else { last }
    }

    /// Whether this part, or a later one, is listed.
    fn has_part(&self, msn: u64, part: u64) -> Answer {
        let Some((hint_msn, hint_part)) = self.hint() else { return Answer::NotYet };
        // A part behind the last of its segment is the first of the next (section 6.2.5.2). Segments that are no longer
        // kept are behind either way.
        let parts = self.window.segment(msn).map_or(u64::MAX, |segment| segment.parts.len() as u64);
        let (msn, part) = if msn < hint_msn && part >= parts { (msn + 1, 0) } else { (msn, part) };
        let ahead = if msn == hint_msn { part.saturating_sub(hint_part) } else { part };
        if (msn, part) < (hint_msn, hint_part) {
            Answer::Ready(String::new())
        } else if ahead >= PARTS_AHEAD_MAX {
            Answer::BadRequest("_HLS_part is too far ahead")
        } else {
            Answer::NotYet
        }
    }
}
