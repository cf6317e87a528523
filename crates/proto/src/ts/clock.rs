//! Times of a segment: ticks of 90 kHz.

use crate::codec::aac;

/// Ticks per millisecond of the 90 kHz clock.
pub(super) const TICKS_PER_MS: i64 = 90;
/// Added to every time, so that clock references and negative composition offsets stay positive (1.4 s).
pub(super) const OFFSET: i64 = 126_000;
/// How far audio may drift from the encoder's times before the sample counter is set anew (30 ms).
const DRIFT_MAX: i64 = 30 * TICKS_PER_MS;

/// Counts samples, since RTMP rounds times to milliseconds and players want steady ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AudioClock {
    /// 90 kHz ticks of sample 0.
    base: i64,
    frames: i64,
}

impl AudioClock {
    /// The time of the next frame, by counting samples unless that is too far from what the encoder says, and whether it
    /// was.
    pub(super) fn tick(clock: &mut Option<Self>, announced: i64, rate: u32) -> (i64, bool) {
        let time =
            |clock: &Self| clock.base + clock.frames * i64::from(aac::FRAME_SAMPLES) * 90_000 / i64::from(rate.max(1));
        let counted = clock.filter(|clock| (time(clock) - announced).abs() <= DRIFT_MAX);
        let current = counted.unwrap_or(Self { base: announced, frames: 0 });
        *clock = Some(Self { frames: current.frames + 1, ..current });
        (time(&current), counted.is_none())
    }
}
