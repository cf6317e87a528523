//! Responses to players: playlists, and the files that they list.

use bytes::Bytes;

use super::{playlist, request::PlaylistRequest, stream::LowLatencyStream, timing::PART_TARGET_MS};

/// How many parts ahead of the newest a player may request: three divided by the part target in seconds (section
/// 6.2.5.2).
const PARTS_AHEAD_MAX: u64 = (3_000 / PART_TARGET_MS + 1) as u64;
/// How many segments ahead of the newest a player may request.
const SEGMENTS_AHEAD_MAX: u64 = 2;
/// How many target durations a request may be held (section 6.2.5.2).
const HOLD_TARGETS_MAX: u64 = 3;

/// The response to a request for the media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaylistResponse {
    /// The playlist.
    Ready(String),
    /// What the request waits for is not there yet. Ask again after the next change.
    NotYet,
    /// Status 400, with the reason.
    BadRequest(&'static str),
    /// Nothing is listed so far.
    Empty,
}

/// The response to a request for a segment or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileResponse {
    /// The file, in pieces that share the bytes of the packets.
    Ready(Vec<Bytes>),
    /// The part was announced in a preload hint. Ask again after the next change.
    NotYet,
    /// Status 404.
    Gone,
}

impl LowLatencyStream {
    /// How long a request may be held, in ms.
    pub fn hold_max_ms(&self) -> u64 {
        HOLD_TARGETS_MAX * self.window.target_s.max(1) * 1_000
    }

    /// The media playlist.
    pub fn playlist(&self, request: &PlaylistRequest) -> PlaylistResponse {
        let Some(last) = self.window.last() else { return PlaylistResponse::Empty };
        // Delivery directives are ignored once the playlist no longer changes (section 6.2.5).
        if self.ended {
            return PlaylistResponse::Ready(playlist::media(self, false));
        }
        let answer = match (request.msn, request.part.filter(|_| self.parts)) {
            (None, _) if request.part.is_some() => PlaylistResponse::BadRequest("_HLS_part needs _HLS_msn"),
            (None, _) => PlaylistResponse::Ready(String::new()),
            (Some(msn), _) if msn > self.newest_msn(last.sequence) + SEGMENTS_AHEAD_MAX => {
                PlaylistResponse::BadRequest("_HLS_msn is too far ahead")
            }
            (Some(msn), None) if msn <= last.sequence => PlaylistResponse::Ready(String::new()),
            (Some(_), None) => PlaylistResponse::NotYet,
            (Some(msn), Some(part)) => self.has_part(msn, part),
        };
        match answer {
            PlaylistResponse::Ready(_) => PlaylistResponse::Ready(playlist::media(self, request.skip)),
            other => other,
        }
    }

    /// The multivariant playlist; `None` before the first segment.
    pub fn multivariant(&self) -> Option<String> {
        let last = self.window.last()?;
        Some(playlist::multivariant(&self.window, &last.init.tracks))
    }

    /// Init segment `version`, while a segment refers to it.
    pub fn init(&self, version: u32) -> Option<Bytes> {
        let kept = self.window.segments().map(|segment| &segment.init);
        let open = self.packager.open.iter().map(|open| &open.init);
        kept.chain(open).find(|init| init.version == version).map(|init| init.bytes.clone())
    }

    /// Segment `msn`.
    pub fn segment(&self, msn: u64) -> FileResponse {
        match self.window.segment(msn) {
            Some(segment) => FileResponse::Ready(segment.bytes()),
            None => FileResponse::Gone,
        }
    }

    /// Part `part` of segment `msn`.
    pub fn part(&self, msn: u64, part: u64) -> FileResponse {
        let parts = match (self.window.segment(msn), &self.packager.open) {
            (Some(segment), _) => &segment.parts[..],
            (None, Some(open)) if msn == self.packager.next_sequence => &open.parts,
            _ => &[],
        };
        match usize::try_from(part).ok().and_then(|part| parts.get(part)) {
            Some(part) => FileResponse::Ready(part.fragment.bytes()),
            None if self.hint() == Some((msn, part)) => FileResponse::NotYet,
            None => FileResponse::Gone,
        }
    }

    /// Whether this part, or a later one, is listed.
    fn has_part(&self, msn: u64, part: u64) -> PlaylistResponse {
        let Some((hint_msn, hint_part)) = self.hint() else { return PlaylistResponse::NotYet };
        // A part after the last one of its segment is the first part of the next segment (section 6.2.5.2). Segments
        // that were already removed are in the past either way.
        let parts = self.window.segment(msn).map_or(u64::MAX, |segment| segment.parts.len() as u64);
        let (msn, part) = if msn < hint_msn && part >= parts { (msn + 1, 0) } else { (msn, part) };
        let ahead = if msn == hint_msn { part.saturating_sub(hint_part) } else { part };
        if (msn, part) < (hint_msn, hint_part) {
            PlaylistResponse::Ready(String::new())
        } else if ahead >= PARTS_AHEAD_MAX {
            PlaylistResponse::BadRequest("_HLS_part is too far ahead")
        } else {
            PlaylistResponse::NotYet
        }
    }
}
