//! Cuts packets into segments, keyframe to keyframe.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    codec::{aac, avc, hevc},
    flv::{AudioTag, MAIN_TRACK, VideoTag},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
    ts::{self, Audio, Tracks},
};

use super::cut::{Cut, FRAME_MS, Span};

/// A finished segment. Its MPEG-TS form is made when first asked for.
#[derive(Debug)]
pub struct Segment {
    /// Its number, from 0.
    pub sequence: u64,
    /// Its length.
    pub duration_ms: u32,
    /// Wall clock time of its first packet, in ms since 1970.
    pub program_date_ms: u64,
    /// Codec headers changed since the segment before it, or there is a hole between the two.
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

    /// Its packets, as they came.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Bytes of media it holds.
    pub fn held_bytes(&self) -> usize {
        self.packets.iter().map(|packet| packet.body.len()).sum::<usize>() + self.muxed.get().map_or(0, Bytes::len)
    }
}

/// Cuts packets into segments. Feed it codec headers first, then packets from a keyframe on.
#[derive(Debug, Default)]
pub struct Segmenter {
    tracks: Tracks,
    headers: Headers,
    /// The tracks differ from those of the open segment.
    tracks_changed: bool,
    /// The video cannot go into MPEG-TS.
    unsupported: bool,
    open: Option<Open>,
    next_sequence: u64,
    /// The number of the first segment.
    first: u64,
    state: ts::State,
    /// The next segment begins anew.
    discontinuity_next: bool,
    /// A media time and the wall clock time it stands for.
    clock: Option<(Timestamp, u64)>,
}

/// The headers in force, to know an equal one.
#[derive(Debug, Default)]
struct Headers {
    video: Option<Bytes>,
    audio: Option<Bytes>,
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
    /// A segmenter that numbers from `first` on. Caches keep segments for good, so a number must never come back under the
    /// same address: a stream that follows another one begins behind its last.
    pub fn numbered_from(first: u64) -> Self {
        Self { next_sequence: first, first, ..Self::default() }
    }

    /// Whether the stream has video that MPEG-TS players do not take.
    pub fn is_unsupported(&self) -> bool {
        self.unsupported
    }

    /// Takes the next packet, which came at `wall_ms` (ms since 1970). Gives a segment when the packet begins another one.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64) -> Option<Segment> {
        match packet.kind {
            PacketKind::VideoHeader => self.on_video_header(packet),
            PacketKind::AudioHeader => self.on_audio_header(packet),
            PacketKind::Audio if self.tracks.audio.is_none() => self.on_headerless_audio(packet),
            _ => {}
        }
        if !packet.kind.is_frame() {
            return None;
        }
        if self.unsupported {
            return self.finish(packet.dts);
        }
        let begins = self.begins_at(packet);
        let cut = self.open.as_ref().and_then(|open| open.span.cut_before(packet, begins, self.tracks_changed));
        let finished = match cut {
            None => None,
            Some(Cut::Boundary | Cut::Forced) => self.finish(packet.dts),
            Some(Cut::Hole) => {
                let end = self.open.as_ref().map_or(packet.dts, |open| open.span.newest + FRAME_MS);
                self.discontinuity_next = true;
                self.finish(end)
            }
        };
        if cut == Some(Cut::Forced) || self.open.is_none() && begins {
            self.begin(packet, wall_ms);
        }
        if let Some(open) = &mut self.open {
            open.push(packet);
        }
        finished
    }

    /// Ends the open segment at `end`, as when the stream is over.
    pub fn finish(&mut self, end: Timestamp) -> Option<Segment> {
        let Open { span: Span { start, .. }, discontinuity, independent, packets, tracks } = self.open.take()?;
        let (clock_start, clock_wall) = self.clock?;
        let state = self.state;
        self.state = ts::advance(&packets, &tracks, state);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some(Segment {
            sequence,
            duration_ms: end.ms_since(start).max(1).try_into().unwrap_or(u32::MAX),
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
        if self.headers.video.as_ref() == Some(&packet.body) {
            return;
        }
        self.headers.video = Some(packet.body.clone());
        let config = VideoTag::parse(&packet.body)
            .ok()
            .filter(|tag| tag.codec == VideoCodec::Avc && !hevc::is_config(&tag.payload))
            .and_then(|tag| avc::Config::parse(&tag.payload).ok());
        self.unsupported = config.is_none();
        self.tracks.video = config.map(Arc::new);
        self.tracks_changed = true;
    }

    fn on_audio_header(&mut self, packet: &Packet) {
        if self.headers.audio.as_ref() == Some(&packet.body) {
            return;
        }
        self.headers.audio = Some(packet.body.clone());
        let config = AudioTag::parse(&packet.body)
            .ok()
            .filter(|tag| tag.codec == AudioCodec::Aac)
            .and_then(|tag| aac::Config::parse(&tag.payload).ok())
            .filter(aac::Config::fits_adts);
        self.tracks.audio = config.map(Audio::Aac);
        self.tracks_changed = true;
    }

    fn on_headerless_audio(&mut self, packet: &Packet) {
        if AudioTag::parse(&packet.body).is_ok_and(|tag| tag.codec == AudioCodec::Mp3 && tag.track == MAIN_TRACK) {
            self.tracks.audio = Some(Audio::Mp3);
            self.tracks_changed = true;
        }
    }

    fn begins_at(&self, packet: &Packet) -> bool {
        if self.tracks.video.is_some() { packet.kind == PacketKind::Keyframe } else { self.tracks.audio.is_some() }
    }

    fn begin(&mut self, packet: &Packet, wall_ms: u64) {
        let changed = std::mem::take(&mut self.tracks_changed) && self.next_sequence > self.first;
        let discontinuity = std::mem::take(&mut self.discontinuity_next) || changed;
        // One reading of the wall clock serves until times begin anew, so that program dates follow media time.
        if discontinuity {
            self.state = ts::State::default();
            self.clock = None;
        }
        self.clock.get_or_insert((packet.dts, wall_ms));
        self.open = Some(Open {
            span: Span::from(packet.dts),
            discontinuity,
            independent: packet.kind == PacketKind::Keyframe || self.tracks.video.is_none(),
            packets: Vec::new(),
            tracks: self.tracks.clone(),
        });
    }
}

impl Open {
    fn push(&mut self, packet: &Packet) {
        self.span.take(packet);
        self.packets.push(packet.clone());
    }
}

#[cfg(test)]
mod tests;
