//! How often the readers of a broadcast are woken and its encoder's socket is read. A wake costs a system call per
//! reader, and a sleeping thread has cold caches. So all tasks of a thread are woken together, on ticks, unless a
//! reader needs low latency.

use std::time::Duration;

use crate::ticks::TICK;

/// Up to this many immediate readers are woken for each piece that the encoder sends.
const READERS_WOKEN_AT_ONCE: usize = 4;
/// Beyond that, each immediate reader adds this much to the pause.
const PAUSE_PER_READER: Duration = Duration::from_micros(800);

/// A broadcast younger than this wakes its readers at once: encoders begin with a burst, and HLS with the first
/// keyframe.
const BEGINNING: Duration = Duration::from_secs(2);

/// The pause between two wakes of a broadcast of this age, with this number of immediate readers.
pub(crate) fn pause_for(immediate_readers: usize, age: Duration) -> Duration {
    match immediate_readers {
        0 if age < BEGINNING => Duration::ZERO,
        0 => TICK,
        1..=READERS_WOKEN_AT_ONCE => Duration::ZERO,
        many => (PAUSE_PER_READER * many.try_into().unwrap_or(u32::MAX)).min(TICK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_with_immediate_readers_up_to_a_tick() {
        let pauses_us = [0, 1, 4, 5, 10, 50, 1_000].map(|readers| pause_for(readers, BEGINNING).as_micros());
        assert_eq!(pauses_us, [40_000, 0, 0, 4_000, 8_000, 40_000, 40_000]);
        assert_eq!(pause_for(0, Duration::from_millis(1_999)), Duration::ZERO, "no pause at the beginning");
    }
}
