//! Muxes packets into a segment.
//!
//! A segment is a pure function of its packets and of the [`State`] at its start. [`advance`] computes the state at its
//! end without muxing, so a segment that is never requested is never muxed.

use bytes::Bytes;

use super::{
    clock::{AudioClock, OFFSET, TICKS_PER_MS},
    packetizer::{Continuity, Packetizer},
    pes::{Elements, Pes},
    track::{Audio, Tracks},
};
use crate::{
    codec::{avc, nal},
    packet::{Packet, PacketKind},
    track::{AudioCodec, Codec},
};

/// The state carried from segment to segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    continuity: Continuity,
    audio: Option<AudioClock>,
}

/// Audio frames that begin within this span share one PES packet: 70 ms in ticks. With the last frame this is less than
/// the 100 ms allowed between clock references (section 2.7.2).
const GATHER: i64 = 70 * TICKS_PER_MS;
/// The payload limit of an audio PES packet, in bytes; its 16-bit length includes the rest of the header.
const AUDIO_PES_BYTES_MAX: usize = 60_000;

/// Muxes a segment.
pub fn mux(packets: &[Packet], tracks: &Tracks, state: State) -> Bytes {
    let mut out = Packetizer::writing(state.continuity, packets.iter().map(|packet| packet.payload.len()).sum());
    run(packets, tracks, state, &mut out);
    out.finish()
}

/// The state after a segment, without muxing it.
pub fn advance(packets: &[Packet], tracks: &Tracks, state: State) -> State {
    let mut out = Packetizer::counting(state.continuity);
    let audio = run(packets, tracks, state, &mut out);
    State { continuity: out.continuity(), audio }
}

fn run(packets: &[Packet], tracks: &Tracks, state: State, out: &mut Packetizer) -> Option<AudioClock> {
    let mut clock = state.audio;
    let mut gathered: Option<Pes> = None;
    let mut has_sound = false;
    out.tables(tracks);
    for (index, packet) in packets.iter().enumerate() {
        match packet.kind {
            PacketKind::Keyframe | PacketKind::InterFrame => {
                let more = packets.iter().skip(index + 1).take_while(|later| !later.kind.is_picture());
                let slices = more.filter(|later| later.kind == PacketKind::Slices);
                let Some(pes) = tracks.video.as_deref().and_then(|config| video_pes(packet, slices, config)) else {
                    continue;
                };
                // Audio that is still being gathered must not be sent after the clock reference passed it.
                if let Some(late) = gathered.take_if(|audio| pes.dts - audio.dts >= GATHER) {
                    out.pes(&late);
                }
                out.pes(&pes);
            }
            PacketKind::Audio => {
                let first = !has_sound;
                let Some(frame) = tracks.audio.and_then(|audio| audio_frame(packet, audio, &mut clock, first)) else {
                    continue;
                };
                has_sound = true;
                if let Some(full) = gathered.take_if(|pes| !frame.joins(pes)) {
                    out.pes(&full);
                }
                match &mut gathered {
                    Some(pes) => pes.elements.extend(frame.elements),
                    None => gathered = Some(Pes::audio(frame.time, frame.elements, tracks.video.is_none())),
                }
            }
            _ => {}
        }
    }
    if let Some(last) = gathered {
        out.pes(&last);
    }
    clock
}

/// A PES packet with an access unit in byte stream form (H.264 annex B): the delimiter first, and parameter sets before
/// a picture that decoding can start at.
fn video_pes<'a>(packet: &'a Packet, slices: impl Iterator<Item = &'a Packet>, config: &avc::Config) -> Option<Pes> {
    const START_CODE: &[u8] = &[0, 0, 0, 1];
    /// primary_pic_type 7: any slice type.
    const DELIMITER: &[u8] = &[0, 0, 0, 1, 9, 0xF0];
    let payloads = std::iter::once(packet).chain(slices).map(|packet| &packet.payload);
    let of_payload = |payload: &'a Bytes| nal::units(payload, config.length_bytes).map(|unit| payload.slice_ref(unit));
    let mut nals: Vec<Bytes> = payloads.flat_map(of_payload).collect();
    nals.retain(|nal| avc::nal::kind(nal) != avc::nal::AUD);
    if nals.is_empty() {
        return None;
    }
    let mut elements = Elements::default();
    elements.push(Bytes::from_static(DELIMITER));
    let has = |kind| nals.iter().any(|nal| avc::nal::kind(nal) == kind);
    let starts = packet.kind == PacketKind::Keyframe || has(avc::nal::IDR);
    if starts && !has(avc::nal::SPS) {
        for parameter_set in config.sps.iter().chain(&config.pps) {
            elements.push(Bytes::from_static(START_CODE));
            elements.push(parameter_set.clone());
        }
    }
    for nal in nals {
        elements.push(Bytes::from_static(START_CODE));
        elements.push(nal);
    }
    let dts = packet.dts.as_ms() * TICKS_PER_MS + OFFSET;
    let pts = dts + i64::from(packet.cts_ms) * TICKS_PER_MS;
    Some(Pes::video(pts, dts, elements, starts))
}

/// An audio frame to put into a PES packet.
struct AudioFrame {
    time: i64,
    /// Its time is not the end of the frame before it, because the sample counter was reset.
    resynced: bool,
    elements: Elements,
}

impl AudioFrame {
    /// Whether it can be appended to `pes`, which has only the time of its first frame.
    fn joins(&self, pes: &Pes) -> bool {
        let room = pes.elements.len() + self.elements.len() <= AUDIO_PES_BYTES_MAX;
        room && !self.resynced && self.time - pes.dts < GATHER
    }
}

/// The audio frame of a packet; `None` if the track does not accept it. `first`: it may be the first of the segment.
fn audio_frame(packet: &Packet, audio: Audio, clock: &mut Option<AudioClock>, first: bool) -> Option<AudioFrame> {
    let (Codec::Audio(codec), payload) = (packet.codec, packet.payload.clone()) else { return None };
    if payload.is_empty() || payload.len() > AUDIO_PES_BYTES_MAX {
        return None;
    }
    let announced = packet.dts.as_ms() * TICKS_PER_MS + OFFSET;
    let mut elements = Elements::default();
    let (time, resynced) = match audio {
        Audio::Aac(config) if codec == AudioCodec::Aac => {
            let channels = if first { config.channel_element() } else { &[] };
            let header = config.adts_header(channels.len() + payload.len())?;
            elements.push(Bytes::from([&header[..], channels].concat()));
            AudioClock::tick(clock, announced, config.core_rate)
        }
        // MP3 frames have several lengths, so their times are the encoder's.
        Audio::Mp3 if codec == AudioCodec::Mp3 => (announced, false),
        _ => return None,
    };
    elements.push(payload);
    Some(AudioFrame { time, resynced, elements })
}

#[cfg(test)]
mod tests;
