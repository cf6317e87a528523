//! From messages to the packager's input, as in the engine: normaliser, clock, conformer.

use bytes::Bytes;
use gostream_proto::{
    flv::{Normaliser, Stamped},
    hls::Conformer,
    packet::Packet,
    time::{Clock, MainTrack, Timestamp},
};

use crate::messages::{AAC_HEADER, AVC_HEADER, Message};

/// The wall clock at the first message, in ms since 1970; late enough to allow jumps back.
const WALL_MS: u64 = 1_700_000_000_000;
/// Packets that wait in the opening of a stream until its tracks are known.
const OPENING_MAX: usize = 1_024;
/// Packets produced for one packet at most, in addition to those that waited: silence.
const MADE_MAX: usize = 2_048;

/// A stream in progress.
pub struct Chain {
    normaliser: Normaliser,
    /// `None` to keep the encoder's own times unchanged: packagers must not rely on a clock.
    clock: Option<Clock>,
    conformer: Conformer,
    /// Timestamp of the newest message.
    stamp_ms: i64,
    arrived_ms: i64,
    /// Arrival of the newest video message.
    video_ms: i64,
    wall_ms: u64,
    normalised: Vec<Stamped>,
    conformed: Vec<(Packet, u64)>,
    /// Packets in the opening; `None` after it.
    opening: Option<usize>,
}

impl Chain {
    /// A stream with the headers selected by `choice`: bit 0 video, bit 1 audio. With bit 3, a clock assigns the times.
    pub fn begin(choice: u8) -> Self {
        let mut chain = Self {
            normaliser: Normaliser::default(),
            clock: (choice & 8 != 0).then(Clock::default),
            conformer: Conformer::default(),
            stamp_ms: 0,
            arrived_ms: 0,
            video_ms: 0,
            wall_ms: WALL_MS,
            normalised: Vec::new(),
            conformed: Vec::new(),
            opening: Some(0),
        };
        if choice & 1 != 0 {
            chain.normaliser.video(Bytes::from_static(AVC_HEADER), 0, &mut chain.normalised);
        }
        if choice & 2 != 0 {
            chain.normaliser.audio(Bytes::from_static(AAC_HEADER), 0, &mut chain.normalised);
        }
        chain
    }

    /// Takes a message. Returns the packets that players get, with the wall-clock time of their arrival.
    pub fn push(&mut self, message: Message) -> impl Iterator<Item = (Packet, u64)> {
        if message.restarts {
            self.normalised.extend(self.normaliser.finish());
            self.pass_on();
            self.clock.iter_mut().for_each(Clock::restart);
        }
        self.stamp_ms += message.step_ms;
        self.arrived_ms += message.step_ms.max(0);
        self.wall_ms = self.wall_ms.saturating_add_signed(message.wall_ms);
        let wire = self.stamp_ms as u32;
        if message.is_audio {
            self.normaliser.audio(message.body, wire, &mut self.normalised);
        } else {
            self.normaliser.video(message.body, wire, &mut self.normalised);
        }
        self.pass_on();
        if !message.is_audio {
            self.video_ms = self.arrived_ms;
        }
        self.conformed.drain(..)
    }

    /// Assigns times to the packets and passes them to the conformer.
    fn pass_on(&mut self) {
        let mut normalised = std::mem::take(&mut self.normalised);
        let mut placed = None;
        for stamped in normalised.drain(..) {
            let dts = self.place(&stamped, &mut placed);
            let packet = Packet { dts, ..stamped.packet };
            let before = self.conformed.len();
            self.conformer.push(&packet, self.wall_ms, &mut self.conformed);
            let made = self.conformed.len() - before;
            let waiting = self.opening.map_or(0, |waiting| waiting + 1);
            assert!(waiting <= OPENING_MAX && made <= waiting + MADE_MAX, "one packet produced {made}, {waiting} wait");
            self.opening = self.opening.filter(|_| made == 0).map(|_| waiting);
        }
        self.normalised = normalised;
    }

    /// Flushes at the end of the stream.
    pub fn finish(&mut self) -> impl Iterator<Item = (Packet, u64)> {
        self.conformer.finish(&mut self.conformed);
        self.conformed.drain(..)
    }

    /// The time of a packet, as the engine computes it. `placed` is the time of the newest timestamp of its message.
    fn place(&mut self, stamped: &Stamped, placed: &mut Option<(u32, Timestamp)>) -> Timestamp {
        let Stamped { packet, wire, was_held } = stamped;
        let Some(clock) = &mut self.clock else { return Timestamp::from_ms(self.stamp_ms) + packet.dts.as_ms() };
        let track = if packet.kind.is_audio() { MainTrack::Audio } else { MainTrack::Video };
        if !packet.kind.is_frame() {
            return clock.newest_of(track).unwrap_or_default();
        }
        let came_ms = if *was_held { self.video_ms } else { self.arrived_ms };
        let time = match *placed {
            Some((stamp, time)) if stamp == *wire => time,
            _ => clock.place(track, *wire, came_ms),
        };
        *placed = Some((*wire, time));
        time + packet.dts.as_ms()
    }
}
