//! Repairs before packaging what HLS players cannot handle: tracks that are minutes apart, missing audio, and
//! presentation times sent as decode times.

mod reorder;

use bytes::Bytes;

use reorder::Reorder;

use crate::{
    codec::aac,
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec},
};

/// Audio further than this from the pictures that it arrives with is moved next to them, in ms: no player buffers that
/// much of one track.
const APART_MS: i64 = 5_000;
/// When audio is missing for longer than this while pictures arrive, silence replaces it, in ms.
const AWAY_MS: u64 = 1_000;

/// When audio begins later than the pictures by more than this, the stream begins with silence, in ms.
const LATE_MS: i64 = 200;
/// A stream begins with the tracks whose first packets arrive within this time, in ms: browsers cannot add a track
/// later without a restart.
const OPENING_MS: u64 = 1_000;

/// Packets in the opening, at most, whatever the clock says: one second of pictures at 240 fps, and of audio.
const OPENING_PACKETS_MAX: usize = 512;

/// Audio at other rates, in Hz, is not replaced by silence: that would take too many frames.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// When neither pictures nor audio arrive for longer than this, in ms, the stream has a hole, which is not filled.
const HOLE_MS: u64 = 4_000;
/// When pictures are missing for longer than this, in ms, audio does not wait for them.
const PICTURES_AWAY_MS: u64 = 2_000;
/// The longest silence inserted for one packet that arrives, in ms, whatever the clocks say.
const SILENCE_MS_MAX: i64 = 10_000;

/// Number of pictures from which the picture order of an encoder is determined.
const OPENING_PICTURES: usize = 6;

/// Turns the packets of a stream into packets that players accept, each with its arrival time.
#[derive(Debug, Default)]
pub struct Conformer {
    opening: Opening,
    /// Decode time of the first picture.
    begin: Option<Timestamp>,
    reorder: Reorder,
    picture: Option<NewestPacket>,
    sound: Option<NewestPacket>,
    /// Added to audio times, in ms.
    shift_ms: i64,
    silence: Option<Silence>,
    /// Silence that may still be inserted for the packet that arrived, in ms.
    silence_left_ms: i64,
    /// An audio header that waits for a keyframe, because no segment can begin earlier.
    waiting: Option<Packet>,
}

/// The newest packet of a track.
#[derive(Clone, Copy, Debug)]
struct NewestPacket {
    dts: Timestamp,
    arrived_ms: u64,
    /// The newest time of the other track when this packet arrived.
    other_track: Option<Timestamp>,
}

/// The first packets of a stream, until its tracks are known.
#[derive(Debug, Default)]
struct Opening {
    packets: Vec<(Packet, u64)>,
    pictures: usize,
    has_audio: bool,
    is_over: bool,
}

/// Silent frames for an audio track whose codec supports them.
#[derive(Debug)]
struct Silence {
    codec: AudioCodec,
    payload: Bytes,
    samples: i64,
    rate: i64,
    /// Silent frames since the last audio packet.
    frames: i64,
}

impl Conformer {
    /// Takes the next packet, which arrived at `wall_ms` (ms since 1970). Appends packets for players to `out`.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64, out: &mut Vec<(Packet, u64)>) {
        self.silence_left_ms = SILENCE_MS_MAX;
        if self.opening.is_over {
            return self.conform(packet, wall_ms, out);
        }
        let opening = self.opening.take(packet, wall_ms);
        self.open(opening, out);
    }

    /// Flushes at the end of the stream: packets that wait for another track are released.
    pub fn finish(&mut self, out: &mut Vec<(Packet, u64)>) {
        self.silence_left_ms = SILENCE_MS_MAX;
        let opening = self.opening.end();
        self.open(opening, out);
    }

    fn open(&mut self, packets: Vec<(Packet, u64)>, out: &mut Vec<(Packet, u64)>) {
        self.reorder.look_at(packets.iter().map(|(packet, _)| packet));
        for (packet, wall_ms) in packets {
            self.conform(&packet, wall_ms, out);
        }
    }

    fn conform(&mut self, packet: &Packet, wall_ms: u64, out: &mut Vec<(Packet, u64)>) {
        match packet.kind {
            PacketKind::AudioHeader if self.silence.is_some() && self.has_pictures(wall_ms) => {
                self.waiting = Some(packet.clone());
                return;
            }
            PacketKind::AudioHeader => self.silence = Silence::of(packet),
            PacketKind::Keyframe | PacketKind::InterFrame => {
                if packet.kind == PacketKind::Keyframe
                    && let Some(header) = self.waiting.take()
                {
                    self.silence = Silence::of(&header);
                    out.push((header, wall_ms));
                }
                self.begin.get_or_insert(packet.dts);
                self.skip_hole(packet.dts, wall_ms);
                let other_track = self.sound.map(|sound| sound.dts);
                self.picture = Some(NewestPacket { dts: packet.dts, arrived_ms: wall_ms, other_track });
                self.fill(packet.dts, wall_ms, out);
                return out.push((self.reorder.order(packet), wall_ms));
            }
            PacketKind::Audio if self.waiting.is_some() && self.has_pictures(wall_ms) => {
                if let Some((sound, silence)) = self.sound.zip(self.silence.as_mut()) {
                    silence.fill(sound.dts, packet.dts + self.shift_ms, wall_ms, &mut self.silence_left_ms, out);
                }
                return;
            }
            PacketKind::Audio => {
                if let Some(header) = self.waiting.take() {
                    self.silence = Silence::of(&header);
                    out.push((header, wall_ms));
                }
                return self.push_sound(packet, wall_ms, out);
            }
            _ => {}
        }
        out.push((packet.clone(), wall_ms));
    }

    /// Whether pictures are arriving.
    fn has_pictures(&self, wall_ms: u64) -> bool {
        self.picture.is_some_and(|picture| wall_ms.saturating_sub(picture.arrived_ms) <= PICTURES_AWAY_MS)
    }

    /// A hole in the stream moves the audio by as much as the pictures, so that no silence fills it.
    fn skip_hole(&mut self, picture: Timestamp, wall_ms: u64) {
        let (Some(before), Some(sound), Some(silence)) = (self.picture, &mut self.sound, &mut self.silence) else {
            return;
        };
        let was_missing = |arrived_ms: u64| wall_ms.saturating_sub(arrived_ms) > HOLE_MS;
        if was_missing(before.arrived_ms)
            && was_missing(sound.arrived_ms)
            && picture.ms_since(before.dts) > HOLE_MS as i64
            && let Some(other_track) = sound.other_track
        {
            let dts = sound.dts + picture.ms_since(other_track);
            *sound = NewestPacket { dts, arrived_ms: wall_ms, other_track: Some(picture) };
            silence.frames = 0;
        }
    }

    fn push_sound(&mut self, packet: &Packet, wall_ms: u64, out: &mut Vec<(Packet, u64)>) {
        if let Some(picture) = self.picture {
            let expected = picture.dts + wall_ms.saturating_sub(picture.arrived_ms) as i64;
            // After a network stall, audio from before the stall arrives as well.
            let is_apart = |dts: Timestamp| dts < picture.dts - APART_MS || dts > expected + APART_MS;
            if !is_apart(packet.dts) {
                // Close enough: audio keeps the encoder's times.
                self.shift_ms = 0;
            } else if is_apart(packet.dts + self.shift_ms) {
                self.shift_ms = expected.ms_since(packet.dts);
            }
        }
        let dts = packet.dts + self.shift_ms;
        if let (None, Some(begin), Some(silence)) = (self.sound, self.begin, &mut self.silence)
            && (LATE_MS..=APART_MS).contains(&dts.ms_since(begin))
        {
            // Audio begins later than the pictures.
            let frame_ms = silence.frame_ms();
            silence.fill(begin - frame_ms, dts - frame_ms, wall_ms, &mut self.silence_left_ms, out);
        }
        self.sound =
            Some(NewestPacket { dts, arrived_ms: wall_ms, other_track: self.picture.map(|picture| picture.dts) });
        if let Some(silence) = &mut self.silence {
            silence.frames = 0;
        }
        out.push((Packet { dts, ..packet.clone() }, wall_ms));
    }

    /// Inserts silence up to a picture while audio is missing.
    fn fill(&mut self, picture: Timestamp, wall_ms: u64, out: &mut Vec<(Packet, u64)>) {
        let (Some(sound), Some(silence)) = (self.sound, &mut self.silence) else { return };
        let silent_ms = wall_ms.saturating_sub(sound.arrived_ms);
        // After a network stall, audio and pictures arrive together.
        let is_missing =
            |other_track: &Timestamp| silent_ms > AWAY_MS && picture.ms_since(*other_track) > AWAY_MS as i64;
        if let Some(other_track) = sound.other_track.filter(is_missing) {
            // Up to the time that audio would have if it had continued next to the pictures.
            let until = sound.dts + picture.ms_since(other_track);
            silence.fill(sound.dts, until, wall_ms, &mut self.silence_left_ms, out);
        }
    }
}

impl Opening {
    /// Returns the packets that can be released now, headers first.
    fn take(&mut self, packet: &Packet, wall_ms: u64) -> Vec<(Packet, u64)> {
        let first_ms = self.packets.first().map_or(wall_ms, |(_, wall_ms)| *wall_ms);
        match packet.kind {
            PacketKind::Audio if !self.has_audio => {
                // A codec without a header is recognised by its first frame.
                if packet.codec == Codec::Audio(AudioCodec::Mp3) {
                    let header = Packet { kind: PacketKind::AudioHeader, flv: Bytes::new(), ..packet.clone() };
                    self.packets.push((header, wall_ms));
                }
                self.has_audio = packet.codec != Codec::Audio(AudioCodec::Aac);
            }
            PacketKind::AudioHeader => self.has_audio = true,
            kind => self.pictures += usize::from(kind.is_picture()),
        }
        self.packets.push((packet.clone(), wall_ms));
        let is_late = wall_ms.saturating_sub(first_ms) >= OPENING_MS || self.packets.len() >= OPENING_PACKETS_MAX;
        if self.pictures >= OPENING_PICTURES && self.has_audio || is_late {
            return self.end();
        }
        Vec::new()
    }

    fn end(&mut self) -> Vec<(Packet, u64)> {
        self.is_over = true;
        let mut packets = std::mem::take(&mut self.packets);
        packets.sort_by_key(|(packet, _)| !packet.kind.is_header());
        packets
    }
}

impl Silence {
    fn of(header: &Packet) -> Option<Self> {
        let config = aac::Config::parse(&header.payload).ok()?;
        let is_usual = RATES.contains(&config.output_rate()) && RATES.contains(&config.core_rate);
        (header.codec == Codec::Audio(AudioCodec::Aac) && is_usual).then_some(())?;
        Some(Self {
            codec: AudioCodec::Aac,
            payload: config.silence()?,
            samples: config.frame_samples()?.into(),
            rate: config.output_rate().into(),
            frames: 0,
        })
    }

    fn frame_ms(&self) -> i64 {
        self.samples * 1_000 / self.rate
    }

    /// Appends silent frames after the audio frame at `last`, up to `until`: at most `left_ms` of them, which decreases.
    fn fill(
        &mut self,
        last: Timestamp,
        until: Timestamp,
        wall_ms: u64,
        left_ms: &mut i64,
        out: &mut Vec<(Packet, u64)>,
    ) {
        let frames = until.ms_since(last).saturating_mul(self.rate) / (1_000 * self.samples);
        let needed_ms = frames.saturating_sub(self.frames).saturating_mul(self.frame_ms());
        if needed_ms > *left_ms {
            self.frames = frames;
        } else {
            *left_ms -= needed_ms.max(0);
        }
        loop {
            let dts = last + (self.frames + 1) * self.samples * 1_000 / self.rate;
            if dts > until {
                return;
            }
            self.frames += 1;
            let (codec, payload) = (Codec::Audio(self.codec), self.payload.clone());
            out.push((Packet { codec, payload, ..Packet::opaque(PacketKind::Audio, dts, Bytes::new()) }, wall_ms));
        }
    }
}

#[cfg(test)]
mod tests;
