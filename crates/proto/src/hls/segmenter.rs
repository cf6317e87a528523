//! Cuts packets into MPEG-TS segments, keyframe to keyframe.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    codec::{aac, avc, hevc},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec, VideoCodec},
    ts::{self, Audio, Tracks},
};

use super::cut::{Cut, Cutter, FRAME_MS, Position, Span};

/// A finished segment. Its MPEG-TS form is built on first use.
#[derive(Debug)]
pub struct Segment {
    /// Sequence number, from 0.
    pub sequence: u64,
    /// Duration, in ms.
    pub duration_ms: u32,
    /// Wall-clock time of its first packet, in ms since 1970.
    pub program_date_ms: u64,
    /// Codec headers changed since the previous segment, or there is a hole between the two.
    pub discontinuity: bool,
    /// Begins with a keyframe.
    pub independent: bool,
    packets: Vec<Packet>,
    tracks: Tracks,
    state: ts::State,
    muxed: OnceLock<Bytes>,
}

impl Segment {
    /// The segment as MPEG-TS.
    pub fn ts(&self) -> Bytes {
        self.muxed.get_or_init(|| ts::mux(&self.packets, &self.tracks, self.state)).clone()
    }

    /// Its packets, unchanged.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Memory of its packets, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.packets.iter().map(Packet::held_bytes).sum::<usize>() + self.muxed.get().map_or(0, Bytes::len)
    }
}

/// Cuts packets into segments. It needs codec headers first, then packets from a keyframe on.
#[derive(Debug, Default)]
pub struct Segmenter {
    tracks: Tracks,
    headers: Headers,
    /// Tracks that differ from those of the open segment.
    changed: Changed,
    /// MPEG-TS cannot carry the video codec.
    unsupported: bool,
    cutter: Cutter,
    /// The open segment lacks the video track because no picture has arrived.
    awaits_pictures: bool,
    /// The next segment may begin with any picture.
    anywhere: bool,
    open: Option<Open>,
    next_sequence: u64,
    /// Number of the first segment.
    first: u64,
    state: ts::State,
    /// The next segment begins with a discontinuity.
    discontinuity_next: bool,
    /// A media time and the wall-clock time of it.
    clock: Option<(Timestamp, u64)>,
}

/// The current headers, to recognise a repeated one.
#[derive(Debug, Default)]
struct Headers {
    video: Option<Bytes>,
    audio: Option<Bytes>,
}

/// Tracks that changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) video: bool,
    pub(super) audio: bool,
}

impl Changed {
    /// Whether a change concerns the packet. Audio does not wait for the first picture.
    pub(super) fn concerns(self, packet: &Packet) -> bool {
        self.audio || self.video && packet.kind.is_picture()
    }
}

#[derive(Debug)]
struct Open {
    span: Span,
    discontinuity: bool,
    independent: bool,
    packets: Vec<Packet>,
    tracks: Tracks,
}

impl Segmenter {
    /// A segmenter that numbers from `first`. Caches keep segments forever, so a number must not be reused at the same
    /// URL: a stream that replaces another continues its numbers.
    pub fn numbered_from(first: u64) -> Self {
        Self { next_sequence: first, first, ..Self::default() }
    }

    /// Whether MPEG-TS cannot carry the stream's video codec.
    pub fn is_unsupported(&self) -> bool {
        self.unsupported
    }

    /// Takes the next packet, which arrived at `wall_ms` (ms since 1970). Returns a segment if the packet begins
    /// another one.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64) -> Option<Segment> {
        match packet.kind {
            PacketKind::VideoHeader => self.on_video_header(packet),
            PacketKind::AudioHeader => self.on_audio_header(packet),
            PacketKind::Audio if self.tracks.audio.is_none() => self.on_headerless_audio(packet),
            _ => {}
        }
        if !packet.kind.is_frame() || packet.payload.is_empty() {
            return None;
        }
        if self.unsupported {
            return self.finish(packet.dts);
        }
        if packet.kind == PacketKind::Slices {
            if let Some(open) = self.open.as_mut().filter(|_| !self.changed.video)
                && open.span.extend(packet)
            {
                open.packets.push(packet.clone());
            }
            return None;
        }
        let position = self.cutter.position(packet, self.tracks.video.is_some(), wall_ms);
        let begins = self.begins_at(packet, position);
        let changed = self.changed.concerns(packet) || self.awaits_pictures && packet.kind.is_picture();
        let cut = self.open.as_ref().and_then(|open| self.cutter.cut_before(&open.span, position, begins, changed));
        let finished = match cut {
            None => None,
            Some(Cut::Boundary | Cut::Forced) => {
                let end = self.open.as_ref().map(|open| Cutter::end_before(&open.span, position));
                self.finish(end.unwrap_or(position.at))
            }
            Some(Cut::Hole | Cut::Pause) => {
                let end = self.open.as_ref().map(|open| self.cutter.end_before_hole(&open.span, position));
                self.discontinuity_next = true;
                self.finish(end.unwrap_or(position.at))
            }
        };
        if matches!(cut, Some(Cut::Forced | Cut::Pause)) || self.open.is_none() && begins {
            self.begin(packet, position, wall_ms);
        }
        // Packets of a header that the open segment does not have wait for the next segment.
        let waits = if packet.kind.is_picture() { self.changed.video } else { self.changed.audio };
        if let Some(open) = self.open.as_mut() {
            open.span.take(packet, position);
            if !waits {
                open.packets.push(packet.clone());
            }
        }
        finished
    }

    /// Lets the next segment begin with a picture that needs earlier ones, when no keyframe is expected.
    pub fn begin_anywhere(&mut self) {
        self.anywhere = true;
    }

    /// Ends the stream: finishes the open segment after its newest frame.
    pub fn end(&mut self) -> Option<Segment> {
        let end = self.open.as_ref()?.span.newest + FRAME_MS;
        self.finish(end)
    }

    /// Ends the open segment at `end`.
    pub fn finish(&mut self, end: Timestamp) -> Option<Segment> {
        let Open { span, discontinuity, independent, packets, tracks } = self.open.take()?;
        let (start, end) = (span.start, self.cutter.end_at(&span, end));
        let (clock_start, clock_wall) = self.clock?;
        let state = self.state;
        self.state = ts::advance(&packets, &tracks, state);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let duration_ms = end.ms_since(start).max(1);
        self.cutter.finished(duration_ms);
        Some(Segment {
            sequence,
            duration_ms: duration_ms.try_into().unwrap_or(u32::MAX),
            program_date_ms: clock_wall.saturating_add_signed(start.ms_since(clock_start)),
            discontinuity,
            independent,
            packets,
            tracks,
            state,
            muxed: OnceLock::new(),
        })
    }

    fn on_video_header(&mut self, packet: &Packet) {
        if self.headers.video.as_ref() == Some(&packet.payload) {
            return;
        }
        self.headers.video = Some(packet.payload.clone());
        let is_avc = packet.codec == Codec::Video(VideoCodec::Avc) && !hevc::is_config(&packet.payload);
        let config = is_avc.then(|| avc::Config::parse(&packet.payload).ok()).flatten();
        self.unsupported = config.is_none();
        self.tracks.video = config.map(Arc::new);
        self.changed.video = true;
    }

    fn on_audio_header(&mut self, packet: &Packet) {
        if self.headers.audio.as_ref() == Some(&packet.payload) {
            return;
        }
        self.headers.audio = Some(packet.payload.clone());
        self.tracks.audio = match packet.codec {
            Codec::Audio(AudioCodec::Aac) => {
                let config = aac::Config::parse(&packet.payload).ok();
                config.filter(aac::Config::fits_adts).map(Audio::Aac)
            }
            Codec::Audio(AudioCodec::Mp3) => Some(Audio::Mp3),
            _ => None,
        };
        self.changed.audio = true;
    }

    fn on_headerless_audio(&mut self, packet: &Packet) {
        if packet.codec == Codec::Audio(AudioCodec::Mp3) {
            self.tracks.audio = Some(Audio::Mp3);
            self.changed.audio = true;
        }
    }

    fn begins_at(&self, packet: &Packet, position: Position) -> bool {
        match packet.kind {
            PacketKind::Keyframe => self.tracks.video.is_some(),
            PacketKind::InterFrame => self.tracks.video.is_some() && self.anywhere,
            _ => self.tracks.audio.is_some() && position.leads,
        }
    }

    fn begin(&mut self, packet: &Packet, position: Position, wall_ms: u64) {
        self.anywhere = false;
        let awaits = self.tracks.video.is_some() && !self.cutter.has_pictures();
        let awaited = std::mem::replace(&mut self.awaits_pictures, awaits) && !awaits;
        let Changed { video, audio } = std::mem::take(&mut self.changed);
        let changed = (video || audio || awaited) && self.next_sequence > self.first;
        let discontinuity = std::mem::take(&mut self.discontinuity_next) || changed;
        // One reading of the wall clock is used until the next discontinuity, so that program dates follow media time.
        if discontinuity {
            self.state = ts::State::default();
            self.clock = None;
        }
        self.clock.get_or_insert((position.at, wall_ms));
        let mut tracks = self.tracks.clone();
        tracks.video.take_if(|_| self.awaits_pictures);
        self.open = Some(Open {
            span: Span::from(position.at),
            discontinuity,
            independent: packet.kind == PacketKind::Keyframe || tracks.video.is_none(),
            packets: Vec::new(),
            tracks,
        });
    }
}

#[cfg(test)]
mod tests;
