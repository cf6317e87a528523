//! How often the readers of a broadcast are woken, and its encoder's socket is read. A wake costs a system call for each reader, and a
//! thread that was asleep has cold caches: so all of a thread is woken together, on one grid, unless a reader wants each packet at once.

use std::time::Duration;

use crate::ticks::TICK;

/// So few immediate readers get every piece that the encoder sends at once.
const READERS_WOKEN_AT_ONCE: usize = 4;
/// With more of them each adds so much to the pause.
const PAUSE_PER_READER: Duration = Duration::from_micros(800);

/// As long as a broadcast is younger than this, readers are not kept waiting: encoders begin with a burst, and HLS with its first keyframe.
const BEGINNING: Duration = Duration::from_secs(2);

/// The pause between two wakes of a broadcast of this age with that many immediate readers.
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
    fn pause_grows_with_the_immediate_readers_and_ends_at_a_tick() {
        let pauses_us = [0, 1, 4, 5, 10, 50, 1_000].map(|readers| pause_for(readers, BEGINNING).as_micros());
        assert_eq!(pauses_us, [40_000, 0, 0, 4_000, 8_000, 40_000, 40_000]);
        assert_eq!(pause_for(0, Duration::from_millis(1_999)), Duration::ZERO, "at the beginning nobody waits");
    }
}
