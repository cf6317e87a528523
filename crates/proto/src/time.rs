//! Media time: the one clock of packets.
//!
//! RTMP carries 32-bit millisecond timestamps that wrap after 49.7 days and that restart whenever an encoder does.
//! Inside the server a [`Timestamp`] never wraps and never jumps: [`Unwrapper`] undoes both at the door.

use std::{
    fmt,
    ops::{Add, Sub},
};

/// A point in media time, in milliseconds since the start of its broadcast. May be negative just after a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of media time.
    pub const ZERO: Self = Self(0);

    /// A timestamp of `ms` milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the start of the broadcast.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// What goes on the wire: the low 32 bits (RTMP 1.0 section 5.3.1, timestamps roll over).
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;

    fn add(self, ms: i64) -> Self {
        Self(self.0 + ms)
    }
}

impl Sub<i64> for Timestamp {
    type Output = Self;

    fn sub(self, ms: i64) -> Self {
        Self(self.0 - ms)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A backward step longer than this is a restarted clock, not jitter between tracks.
pub const BACKWARD_EPOCH_MS: i64 = 1_000;
/// A forward step longer than this is a restarted clock, not a pause.
pub const FORWARD_EPOCH_MS: i64 = 10_000;
/// What is put between the last packet of one epoch and the first of the next: one frame at 30 fps, rounded.
const EPOCH_GAP_MS: i64 = 33;

/// Turns the 32-bit wire timestamps of one broadcast into [`Timestamp`]s.
///
/// Differences are taken in serial-number arithmetic (RFC 1982), so the 49.7-day wrap is seamless. A step that leaves
/// `-BACKWARD_EPOCH_MS..=FORWARD_EPOCH_MS` starts a new epoch: times go on from the newest packet so far. Feed it every
/// audio and video timestamp of the broadcast in arrival order; tracks share one clock.
#[derive(Clone, Debug, Default)]
pub struct Unwrapper {
    last: Option<Last>,
    epochs: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    wire: u32,
    time: Timestamp,
    newest: Timestamp,
}

impl Unwrapper {
    /// The media time of a packet that carries `wire`. The first packet ever is at its own wire value.
    pub fn unwrap(&mut self, wire: u32) -> Timestamp {
        let time = match self.last {
            None => Timestamp(i64::from(wire)),
            Some(last) => {
                let step = i64::from(wire.wrapping_sub(last.wire) as i32);
                let ahead_of_newest = (last.time + step).ms_since(last.newest);
                if (-BACKWARD_EPOCH_MS..=FORWARD_EPOCH_MS).contains(&ahead_of_newest) {
                    last.time + step
                } else {
                    self.epochs += 1;
                    last.newest + EPOCH_GAP_MS
                }
            }
        };
        let newest = self.last.map_or(time, |last| last.newest.max(time));
        self.last = Some(Last { wire, time, newest });
        time
    }

    /// The encoder restarted: the next packet, whatever it carries, comes `gap_ms` after the newest one so far.
    pub fn splice(&mut self, gap_ms: i64, next_wire: u32) {
        if let Some(last) = self.last {
            let time = last.newest + gap_ms.max(EPOCH_GAP_MS);
            self.epochs += 1;
            self.last = Some(Last { wire: next_wire, time, newest: time });
        }
    }

    /// The newest time so far.
    pub fn newest(&self) -> Option<Timestamp> {
        self.last.map(|last| last.newest)
    }

    /// How often the clock restarted.
    pub const fn epochs(&self) -> u64 {
        self.epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(wires: &[u32]) -> Vec<i64> {
        let mut unwrapper = Unwrapper::default();
        wires.iter().map(|&wire| unwrapper.unwrap(wire).as_ms()).collect()
    }

    #[test]
    fn wrap_at_32_bits_is_seamless() {
        assert_eq!(
            times(&[4_294_967_280, 4_294_967_295, 4, 20]),
            [4_294_967_280, 4_294_967_295, 4_294_967_300, 4_294_967_316]
        );
    }

    #[test]
    fn interleaved_tracks_may_step_back_a_little() {
        assert_eq!(times(&[100, 140, 121, 180]), [100, 140, 121, 180]);
    }

    #[test]
    fn jump_back_of_hours_goes_on_from_the_newest() {
        assert_eq!(times(&[7_200_000, 7_200_040, 0, 40]), [7_200_000, 7_200_040, 7_200_073, 7_200_113]);
    }

    #[test]
    fn jump_ahead_goes_on_from_the_newest() {
        assert_eq!(times(&[0, 40, 5_000_000, 5_000_040]), [0, 40, 73, 113]);
    }

    #[test]
    fn pause_below_the_limit_is_kept() {
        assert_eq!(times(&[0, 40, 9_000]), [0, 40, 9_000]);
    }

    #[test]
    fn splice_continues_after_the_gap() {
        let mut unwrapper = Unwrapper::default();
        unwrapper.unwrap(50_000);
        unwrapper.splice(2_000, 0);
        assert_eq!(unwrapper.unwrap(0).as_ms(), 52_000);
        assert_eq!(unwrapper.unwrap(40).as_ms(), 52_040);
        assert_eq!(unwrapper.epochs(), 1);
    }
}
