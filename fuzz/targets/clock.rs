//! The clock: for arbitrary timestamps and arrivals, times are valid, and a track with rising timestamps does not go
//! back.
#![no_main]

use gostream_proto::time::{Clock, MainTrack, REORDER_MS, Timestamp};
use libfuzzer_sys::fuzz_target;

const RECORD_BYTES: usize = 4;
/// How long the engine holds back a picture.
const HELD_MS: i64 = 150;

/// The timestamps and times of a track.
struct Track {
    wire: Option<u32>,
    newest: Option<Timestamp>,
    arrived_ms: i64,
    /// Sum of the timestamp steps; `None` once a step went back.
    ahead_ms: Option<i32>,
}

impl Default for Track {
    fn default() -> Self {
        Self { wire: None, newest: None, arrived_ms: 0, ahead_ms: Some(0) }
    }
}

impl Track {
    /// The timestamp of the next packet, selected by `how`.
    fn next(&self, how: u8, [a, b, c]: [u8; 3], other: &Self) -> u32 {
        let (own, others, step) = (self.wire.unwrap_or(0), other.wire.unwrap_or(0), u32::from(a) << (b % 32));
        match how {
            0 => own.wrapping_add(u32::from(a)),
            1 => own.wrapping_add(u32::from(u16::from_be_bytes([a, b]))),
            2 => own.wrapping_sub(u32::from(a) * 4),
            3 => own.wrapping_add(step),
            4 => own.wrapping_sub(step),
            5 => others.wrapping_add(u32::from(a)),
            6 => others.wrapping_sub(u32::from(a)),
            _ => u32::from_be_bytes([a, b, c, 0]),
        }
    }

    /// Records the time of a packet.
    fn came(&mut self, wire: u32, time: Timestamp) {
        let step = self.wire.map_or(0, |before| wire.wrapping_sub(before) as i32);
        // Beyond half the timestamp range, later wraps to earlier.
        self.ahead_ms = self.ahead_ms.filter(|_| step >= 0).and_then(|ahead| ahead.checked_add(step));
        if let (Some(before), Some(_)) = (self.newest, self.ahead_ms) {
            assert!(time.ms_since(before) >= -REORDER_MS, "from {before} back to {time}");
        }
        (self.wire, self.newest) = (Some(wire), Some(time));
    }

    /// Another encoder continues, with timestamps of its own.
    fn restart(&mut self) {
        *self = Self { arrived_ms: self.arrived_ms, ..Self::default() };
    }
}

fuzz_target!(|data: &[u8]| {
    let mut clock = Clock::default();
    let (mut video, mut audio) = (Track::default(), Track::default());
    let mut arrived_ms = 0_i64;
    for record in data.chunks_exact(RECORD_BYTES) {
        let &[form, a, b, c] = record else { unreachable!("of that length") };
        let (track, own, other) = match form & 1 {
            0 => (MainTrack::Video, &mut video, &mut audio),
            _ => (MainTrack::Audio, &mut audio, &mut video),
        };
        let wire = own.next(form >> 1 & 7, [a, b, c], other);
        arrived_ms += match form >> 4 & 7 {
            0 => 0,
            1 => i64::from(c),
            2 => i64::from(c) * 20,
            3 => i64::from(c) * 1_000,
            4 => i64::from(c) * 3_600_000,
            5 => i64::from(c) << (b % 32),
            6 => i64::from(a),
            _ => i64::from(u16::from_be_bytes([a, b])),
        };
        if form & 0x80 != 0 {
            // A side track; occasionally the encoder restarts.
            let _ = clock.side_time(track, wire);
            if c == 0xFF {
                clock.restart();
                own.restart();
                other.restart();
            }
            continue;
        }
        let newest = clock.newest();
        // A picture that was held back is placed late, with the time of its arrival.
        let held_ms = if form >> 4 & 7 == 0 { i64::from(c).min(HELD_MS) } else { 0 };
        own.arrived_ms = own.arrived_ms.max(arrived_ms - held_ms);
        let time = clock.place(track, wire, own.arrived_ms);
        assert_eq!(clock.newest_of(track), Some(time));
        own.came(wire, time);
        assert!(clock.newest() >= newest.max(Some(time)), "the newest time never decreases");
        assert!(clock.findings().drift_percent.is_none_or(f64::is_finite));
    }
});
