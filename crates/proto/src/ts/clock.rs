//! Times in a segment: ticks of the 90 kHz clock.

use crate::codec::aac;

/// Ticks per millisecond of the 90 kHz clock.
pub(super) const TICKS_PER_MS: i64 = 90;
/// Added to every time, so that clock references and negative composition offsets stay positive: 1.4 s in ticks.
pub(super) const OFFSET: i64 = 126_000;
/// How far audio may drift from the encoder's times before the sample counter is reset: 30 ms in ticks.
const DRIFT_MAX: i64 = 30 * TICKS_PER_MS;

/// Counts samples, because RTMP rounds times to milliseconds and players want a steady rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AudioClock {
    /// Time of sample 0, in 90 kHz ticks.
    base: i64,
    frames: i64,
}

impl AudioClock {
    /// The time of the next frame, and whether the counter was reset. The time comes from the sample count unless that
    /// is too far from `announced`, the encoder's time.
    pub(super) fn tick(clock: &mut Option<Self>, announced: i64, rate: u32) -> (i64, bool) {
        let time =
            |clock: &Self| clock.base + clock.frames * i64::from(aac::FRAME_SAMPLES) * 90_000 / i64::from(rate.max(1));
        let counted = clock.filter(|clock| (time(clock) - announced).abs() <= DRIFT_MAX);
        let current = counted.unwrap_or(Self { base: announced, frames: 0 });
        *clock = Some(Self { frames: current.frames + 1, ..current });
        (time(&current), counted.is_none())
    }
}
