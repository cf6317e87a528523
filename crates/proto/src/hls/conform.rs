//! What players cannot bear, mended before packaging: tracks that are minutes apart, and sound that is missing.

use bytes::Bytes;

use crate::{
    codec::aac,
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec},
};

/// Sound that is further from the pictures that it arrives with is put beside them: no player buffers so much of one track.
const APART_MS: i64 = 5_000;
/// Sound that does not come for longer than this while pictures do is replaced by silence.
const AWAY_MS: u64 = 1_000;

/// Follows the packets of a stream, and gives those that players can take.
#[derive(Debug, Default)]
pub struct Conformer {
    picture: Option<Seen>,
    sound: Option<Seen>,
    /// Added to the times of sound.
    shift_ms: i64,
    silence: Option<Silence>,
}

/// A packet of a track.
#[derive(Clone, Copy, Debug)]
struct Seen {
    dts: Timestamp,
    arrived_ms: u64,
    /// The newest time of the other track when it came.
    beside: Option<Timestamp>,
}

/// Sound without a sound, for a track that can have it.
#[derive(Debug)]
struct Silence {
    codec: AudioCodec,
    payload: Bytes,
    samples: i64,
    rate: i64,
    /// Frames since the last sound.
    frames: i64,
}

impl Conformer {
    /// Takes the next packet, which came at `wall_ms` (ms since 1970). What players get is appended to `out`.
    pub fn push(&mut self, packet: &Packet, wall_ms: u64, out: &mut Vec<Packet>) {
        match packet.kind {
            PacketKind::AudioHeader => self.silence = Silence::of(packet),
            PacketKind::Keyframe | PacketKind::InterFrame => {
                let beside = self.sound.map(|sound| sound.dts);
                self.picture = Some(Seen { dts: packet.dts, arrived_ms: wall_ms, beside });
                self.fill(packet.dts, wall_ms, out);
            }
            PacketKind::Audio => return self.push_sound(packet, wall_ms, out),
            _ => {}
        }
        out.push(packet.clone());
    }

    fn push_sound(&mut self, packet: &Packet, wall_ms: u64, out: &mut Vec<Packet>) {
        if let Some(picture) = self.picture {
            let expected = picture.dts + wall_ms.saturating_sub(picture.arrived_ms) as i64;
            if (packet.dts + self.shift_ms).ms_since(expected).abs() > APART_MS {
                self.shift_ms = expected.ms_since(packet.dts);
            }
            // Near enough, it is where the encoder put it.
            if packet.dts.ms_since(expected).abs() <= APART_MS {
                self.shift_ms = 0;
            }
        }
        let dts = packet.dts + self.shift_ms;
        self.sound = Some(Seen { dts, arrived_ms: wall_ms, beside: self.picture.map(|picture| picture.dts) });
        if let Some(silence) = &mut self.silence {
            silence.frames = 0;
        }
        out.push(Packet { dts, ..packet.clone() });
    }

    /// Silence up to a picture, while sound is away.
    fn fill(&mut self, picture: Timestamp, wall_ms: u64, out: &mut Vec<Packet>) {
        let (Some(sound), Some(silence)) = (self.sound, &mut self.silence) else { return };
        let Some(beside) = sound.beside.filter(|_| wall_ms.saturating_sub(sound.arrived_ms) > AWAY_MS) else { return };
        // Where sound would be by now, had it gone on beside the pictures.
        let now = sound.dts + picture.ms_since(beside);
        while let Some(dts) = Some(silence.next_after(sound.dts)).filter(|dts| *dts <= now) {
            silence.frames += 1;
            let codec = Codec::Audio(silence.codec);
            let payload = silence.payload.clone();
            out.push(Packet { codec, payload, ..Packet::opaque(PacketKind::Audio, dts, Bytes::new()) });
        }
    }
}

impl Silence {
    fn of(header: &Packet) -> Option<Self> {
        let config = aac::Config::parse(&header.payload).ok()?;
        (header.codec == Codec::Audio(AudioCodec::Aac)).then_some(())?;
        Some(Self {
            codec: AudioCodec::Aac,
            payload: config.silence()?,
            samples: config.frame_samples()?.into(),
            rate: config.output_rate().max(1).into(),
            frames: 0,
        })
    }

    /// The time of the next frame after sound whose last frame was at `last`.
    fn next_after(&self, last: Timestamp) -> Timestamp {
        last + (self.frames + 1) * self.samples * 1_000 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::{audio_packet, video_packet};

    fn header() -> Packet {
        audio_packet(Timestamp::ZERO, Bytes::from_static(&[0xAF, 0, 0x11, 0x90]))
    }

    fn picture(ms: i64) -> Packet {
        video_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]))
    }

    fn sound(ms: i64) -> Packet {
        audio_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0xAF, 1, 0x21, 7]))
    }

    /// The times of the sound that players get.
    fn sounds(packets: &[(Packet, u64)]) -> Vec<i64> {
        let (mut conformer, mut out) = (Conformer::default(), Vec::new());
        packets.iter().for_each(|(packet, wall_ms)| conformer.push(packet, *wall_ms, &mut out));
        out.iter()
            .filter(|packet| packet.kind == PacketKind::Audio)
            .map(|packet| packet.dts.as_ms())
            .collect()
    }

    #[test]
    fn sound_a_minute_away_is_put_beside_its_pictures() {
        let packets: Vec<_> = (0..100)
            .flat_map(|n| [(picture(60_000 + n * 40), n as u64 * 40), (sound(n * 40), n as u64 * 40)])
            .collect();
        let times = sounds(&packets);
        assert_eq!(times, (0..100).map(|n| 60_000 + n * 40).collect::<Vec<_>>());
        let near: Vec<_> = (0..100)
            .flat_map(|n| [(picture(n * 40), n as u64 * 40), (sound(2_000 + n * 40), n as u64 * 40)])
            .collect();
        assert_eq!(sounds(&near)[0], 2_000, "what players bear stays");
    }

    #[test]
    fn missing_sound_is_silence_that_meets_what_comes_back() {
        let mut packets = vec![(header(), 0)];
        for n in 0..500_i64 {
            packets.push((picture(n * 40), n as u64 * 40));
            if !(100..350).contains(&n) {
                packets.push((sound(n * 40), n as u64 * 40));
            }
        }
        let times = sounds(&packets);
        let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (0..=61).contains(step)), "{steps:?}");
        assert_eq!((times[0], times[times.len() - 1]), (0, 499 * 40));
    }

    #[test]
    fn stream_without_sound_gets_none() {
        let packets: Vec<_> = (0..100).map(|n| (picture(n * 40), n as u64 * 40)).collect();
        assert!(sounds(&packets).is_empty());
    }
}
