//! Cuts packets into parts and segments of fragmented MP4. Segments end where the MPEG-TS segments end.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    segment::{Init, OpenPart, Part, Segment},
    timing::{PART_MS, PART_TARGET_MS},
};
use crate::{
    fmp4::{self, Audio, AudioClock, PendingPicture, Sample, Tracks, Video, VideoClock},
    hls::{
        cut::{Cut, Cutter, Position, Span},
        segmenter::Changed,
    },
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec, VideoCodec},
};

/// What a packet completed.
#[derive(Debug, Default)]
pub(super) struct Completed {
    /// A segment ended.
    pub(super) segment: Option<Segment>,
    /// A part ended.
    pub(super) part: bool,
}

/// Codecs of the stream that cannot be packaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsupported {
    /// Video of this codec is left out of the file.
    pub video: Option<VideoCodec>,
    /// Audio of this codec is left out of the file.
    pub audio: Option<AudioCodec>,
}

/// The state between packets.
#[derive(Debug, Default)]
pub(super) struct Packager {
    tracks: Tracks,
    /// The current headers, to recognise a repeated one.
    video_header: Option<Bytes>,
    audio_header: Option<Bytes>,
    /// Tracks that differ from those of the open segment.
    changed: Changed,
    pub(super) unsupported: Unsupported,
    pub(super) cutter: Cutter,
    /// The open segment lacks the video track because no picture has arrived.
    awaits_pictures: bool,
    /// The next segment may begin with any picture.
    pub(super) anywhere: bool,
    init: Option<Arc<Init>>,
    pub(super) open: Option<Open>,
    pub(super) next_sequence: u64,
    /// Number of the first segment and of the first init segment.
    first: u64,
    fragments: u32,
    discontinuity_next: bool,
    /// A media time and the wall-clock time of it.
    wall: Option<(Timestamp, u64)>,
    video: VideoClock,
    audio: AudioClock,
}

/// The open segment.
#[derive(Debug)]
pub(super) struct Open {
    span: Span,
    pub(super) discontinuity: bool,
    pub(super) independent: bool,
    pub(super) program_date_ms: u64,
    pub(super) init: Arc<Init>,
    pub(super) parts: Vec<Arc<Part>>,
    open_part: OpenPart,
    /// Time of the newest picture (without video: audio frame), and the longest step between two.
    lead: Option<Timestamp>,
    gap_max_ms: i64,
}

/// A frame of a track that is in the file.
enum Frame {
    Video(PendingPicture),
    Audio { samples: u32, rate: u32, payload: Bytes },
}

impl Packager {
    /// Numbers segments and init segments from `first`.
    pub(super) fn numbered_from(first: u64) -> Self {
        Self { next_sequence: first, first, ..Self::default() }
    }

    /// Takes the next packet, which arrived at `wall_ms` (ms since 1970).
    pub(super) fn push(&mut self, packet: &Packet, wall_ms: u64) -> Completed {
        match packet.kind {
            PacketKind::VideoHeader => self.on_video_header(packet),
            PacketKind::AudioHeader => self.on_audio_header(packet),
            PacketKind::Audio if self.tracks.audio.is_none() => self.on_headerless_audio(packet),
            PacketKind::Keyframe if self.tracks.video.is_none() => self.on_headerless_video(packet),
            _ => {}
        }
        if packet.kind == PacketKind::Slices {
            if !self.changed.video && self.open.as_mut().is_some_and(|open| open.span.extend(packet)) {
                self.video.extend(&packet.payload);
            }
            return Completed::default();
        }
        let Some(frame) = self.frame(packet) else { return Completed::default() };
        let position = self.cutter.position(packet, self.tracks.video.is_some(), wall_ms);
        let begins = self.begins_at(packet, position);
        let changed = self.changed.video || self.changed.audio || self.awaits_pictures && packet.kind.is_picture();
        let cut = self.open.as_ref().and_then(|open| self.cutter.cut_before(&open.span, position, begins, changed));
        let mut completed = Completed::default();
        if !matches!(cut, Some(Cut::Hole | Cut::Pause)) && packet.kind.is_picture() {
            self.release(packet.dts);
        }
        match cut {
            None => completed.part = self.end_parts(position),
            Some(Cut::Boundary | Cut::Forced) => {
                let end = self.open.as_ref().map(|open| Cutter::end_before(&open.span, position));
                completed.segment = self.finish_before(end.unwrap_or(position.at));
            }
            Some(Cut::Hole | Cut::Pause) => {
                let end = self.open.as_ref().map(|open| self.cutter.end_before_hole(&open.span, position));
                self.discontinuity_next = true;
                completed.segment = self.finish(end.unwrap_or(position.at));
            }
        }
        if matches!(cut, Some(Cut::Forced | Cut::Pause)) || self.open.is_none() && begins {
            self.begin(packet, position, wall_ms);
        }
        self.put(packet, position, frame);
        completed
    }

    /// Ends the open segment at `end`, as at the end of the stream.
    pub(super) fn finish(&mut self, end: Timestamp) -> Option<Segment> {
        let flushed = self.video.flush();
        if let Some(open) = &mut self.open {
            open.open_part.video.extend(flushed);
        }
        self.finish_before(end)
    }

    /// Ends the open segment at `end`. A picture whose duration is unknown goes into the next segment.
    fn finish_before(&mut self, end: Timestamp) -> Option<Segment> {
        let mut open = self.open.take()?;
        let leads = self.leads();
        open.end_parts_by(end, leads, &mut self.fragments);
        open.end_part(end, leads, &mut self.fragments);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let duration_ms = open.parts.iter().map(|part| part.duration_ms).sum();
        self.cutter.finished(i64::from(duration_ms));
        Some(Segment {
            sequence,
            duration_ms,
            program_date_ms: open.program_date_ms,
            discontinuity: open.discontinuity,
            independent: open.independent,
            gap_max_ms: open.gap_max_ms.max(open.lead.map_or(0, |lead| end.ms_since(lead))),
            init: open.init,
            parts: open.parts,
        })
    }

    /// The newest time in the open segment.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.open.as_ref().map(|open| open.span.newest)
    }

    fn on_video_header(&mut self, packet: &Packet) {
        if self.video_header.as_ref() == Some(&packet.payload) {
            return;
        }
        self.video_header = Some(packet.payload.clone());
        self.tracks.video = Video::from_header(packet).map(Arc::new);
        self.unsupported.video = video_codec(packet).filter(|_| self.tracks.video.is_none());
        self.changed.video = true;
    }

    fn on_audio_header(&mut self, packet: &Packet) {
        if self.audio_header.as_ref() == Some(&packet.payload) {
            return;
        }
        self.audio_header = Some(packet.payload.clone());
        self.tracks.audio = Audio::from_packet(packet).map(Arc::new);
        self.unsupported.audio = audio_codec(packet).filter(|_| self.tracks.audio.is_none());
        self.changed.audio = true;
    }

    fn on_headerless_audio(&mut self, packet: &Packet) {
        self.tracks.audio = Audio::from_packet(packet).map(Arc::new);
        match (&self.tracks.audio, audio_codec(packet)) {
            (Some(_), _) => (self.unsupported.audio, self.changed.audio) = (None, true),
            // AAC needs its header.
            (None, None | Some(AudioCodec::Aac)) => {}
            (None, codec) => self.unsupported.audio = codec,
        }
    }

    /// Packaged codecs have headers; a picture without one shows its unsupported codec.
    fn on_headerless_video(&mut self, packet: &Packet) {
        let supported = |codec: &_| matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Av1);
        if let Some(codec) = video_codec(packet).filter(|codec| !supported(codec)) {
            self.unsupported.video = Some(codec);
        }
    }

    /// The frame of a packet, if its track is in the file.
    fn frame(&self, packet: &Packet) -> Option<Frame> {
        if packet.kind.is_picture() {
            let track = self.tracks.video.as_deref()?;
            let sync = packet.kind == PacketKind::Keyframe;
            let payload = packet.payload.clone();
            return track.takes(packet).then_some(Frame::Video(PendingPicture {
                dts: packet.dts,
                cts_ms: packet.cts_ms,
                sync,
                payload,
            }));
        }
        let track = self.tracks.audio.as_deref()?;
        Some(Frame::Audio { samples: track.samples(packet)?, rate: track.rate, payload: packet.payload.clone() })
    }

    fn begins_at(&self, packet: &Packet, position: Position) -> bool {
        match packet.kind {
            PacketKind::Keyframe => true,
            PacketKind::InterFrame => self.anywhere,
            _ => position.leads,
        }
    }

    /// Which track decides where parts of the open segment end.
    fn leads(&self) -> Leading {
        let audio_rate = self.init.as_ref().and_then(|init| init.tracks.audio.as_ref()).map(|audio| audio.rate);
        Leading { video: self.init.as_ref().is_some_and(|init| init.tracks.video.is_some()), audio_rate }
    }

    /// Releases the held picture; it lasts until `dts`.
    fn release(&mut self, dts: Timestamp) {
        if self.changed.video {
            return;
        }
        if let Some(sample) = self.video.release(dts)
            && let Some(open) = &mut self.open
        {
            open.open_part.video.push(sample);
        }
    }

    /// Ends parts that are long enough before a packet of the same segment.
    fn end_parts(&mut self, position: Position) -> bool {
        let leads = self.leads();
        let Some(open) = self.open.as_mut().filter(|_| position.leads) else { return false };
        let before = open.parts.len();
        open.end_parts_before(position.at, leads, &mut self.fragments);
        open.parts.len() > before
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
            (self.video, self.audio) = Default::default();
            self.wall = None;
        }
        let (wall_start, wall_start_ms) = *self.wall.get_or_insert((position.at, wall_ms));
        let mut tracks = self.tracks.clone();
        tracks.video.take_if(|_| awaits);
        let init = match self.init.take() {
            Some(init) if init.tracks == tracks => init,
            before => Arc::new(Init {
                version: before.map_or(self.first as u32, |init| init.version.wrapping_add(1)),
                bytes: fmp4::init(&tracks),
                tracks: tracks.clone(),
            }),
        };
        self.init = Some(Arc::clone(&init));
        self.open = Some(Open {
            span: Span::from(position.at),
            discontinuity,
            independent: packet.kind == PacketKind::Keyframe || tracks.video.is_none(),
            program_date_ms: wall_start_ms.saturating_add_signed(position.at.ms_since(wall_start)),
            init,
            parts: Vec::new(),
            open_part: OpenPart::from(position.at),
            lead: None,
            gap_max_ms: 0,
        });
    }

    /// Puts a packet into the open segment.
    fn put(&mut self, packet: &Packet, position: Position, frame: Frame) {
        let leads = self.leads();
        let Some(open) = &mut self.open else { return };
        open.span.take(packet, position);
        if leads.video == packet.kind.is_picture() {
            open.gap_max_ms = open.gap_max_ms.max(open.lead.map_or(0, |lead| packet.dts.ms_since(lead)));
            open.lead = Some(packet.dts);
        }
        match frame {
            // Packets of a header that the open segment does not have wait for the next segment.
            Frame::Video(_) if self.changed.video => {}
            Frame::Audio { .. } if self.changed.audio => {}
            Frame::Video(picture) => self.video.hold(picture),
            Frame::Audio { samples, rate, payload } => {
                let Some(dts) = self.audio.place(packet.dts, samples, rate) else { return };
                open.open_part.push_audio(Sample { dts, duration: samples, composition: 0, sync: true, payload });
            }
        }
    }
}

/// The tracks of a segment.
#[derive(Clone, Copy, Debug)]
struct Leading {
    /// Parts end before pictures; without video, before audio frames.
    video: bool,
    audio_rate: Option<u32>,
}

impl Open {
    /// Ends parts before a packet of the leading track: one that is long enough, or several after a long gap.
    fn end_parts_before(&mut self, dts: Timestamp, leads: Leading, fragments: &mut u32) {
        self.end_parts_by(dts, leads, fragments);
        if dts.ms_since(self.open_part.start) >= PART_MS {
            self.end_part(dts, leads, fragments);
        }
    }

    /// Ends full-length parts while more than one remains before `end`. If a picture lasts longer than its part, audio
    /// of that time goes into the next part.
    fn end_parts_by(&mut self, end: Timestamp, leads: Leading, fragments: &mut u32) {
        while end.ms_since(self.open_part.start) > PART_TARGET_MS {
            let border = self.open_part.start + PART_TARGET_MS;
            let later = match leads.audio_rate {
                Some(rate) => self.open_part.split_audio(fmp4::audio_ticks(border, rate)),
                None => Vec::new(),
            };
            self.end_part(border, leads, fragments);
            self.open_part.audio = later;
        }
    }

    fn end_part(&mut self, end: Timestamp, leads: Leading, fragments: &mut u32) {
        *fragments = fragments.wrapping_add(1);
        let built = std::mem::replace(&mut self.open_part, OpenPart::from(end));
        self.parts.push(Arc::new(built.into_part(end, leads.video, *fragments)));
    }
}

fn video_codec(packet: &Packet) -> Option<VideoCodec> {
    if let Codec::Video(codec) = packet.codec { Some(codec) } else { None }
}

fn audio_codec(packet: &Packet) -> Option<AudioCodec> {
    if let Codec::Audio(codec) = packet.codec { Some(codec) } else { None }
}
