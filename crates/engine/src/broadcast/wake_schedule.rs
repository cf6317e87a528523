//! How often the readers of a broadcast are woken. A wake costs a system call for each of them, so the pause between two wakes
//! grows with their number.

use std::{sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// With so few readers they are woken for every piece that the encoder sends.
const READERS_WOKEN_AT_ONCE: usize = 4;
/// With more of them each adds so much to the pause.
const PAUSE_PER_READER: Duration = Duration::from_micros(880);
/// The longest pause: a send per 44 ms costs less than half of a send per frame, and nobody notices 44 ms.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(44);

/// As long as a broadcast is younger than this, nobody waits: encoders begin with a burst, and HLS with its first keyframe.
const BEGINNING: Duration = Duration::from_secs(2);

/// The pause for so many readers in a hurry, of a broadcast of this age. Without any, what is left of them has time.
pub(crate) fn pause_for(readers: usize, age: Duration) -> Duration {
    match readers {
        0 if age < BEGINNING => Duration::ZERO,
        0 => PAUSE_MAX,
        1..=READERS_WOKEN_AT_ONCE => Duration::ZERO,
        _ => (PAUSE_PER_READER * readers.try_into().unwrap_or(u32::MAX)).min(PAUSE_MAX),
    }
}

/// The first wake behind `after`: multiples of `pause` on one clock, so that the streams of a thread wake it together.
pub(crate) fn next_wake(after: Instant, pause: Duration) -> Instant {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    let pause_ns = pause.as_nanos().max(1);
    let since_ns = after.saturating_duration_since(*EPOCH).as_nanos();
    after + Duration::from_nanos((pause_ns - since_ns % pause_ns) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_with_the_readers_and_ends_at_44_ms() {
        let pauses_us = [0, 1, 4, 5, 10, 50, 1_000].map(|readers| pause_for(readers, BEGINNING).as_micros());
        assert_eq!(pauses_us, [44_000, 0, 0, 4_400, 8_800, 44_000, 44_000]);
        assert_eq!(pause_for(0, Duration::from_millis(1_999)), Duration::ZERO, "at the beginning nobody waits");
    }

    #[test]
    fn wakes_of_all_streams_coincide() {
        let pause = Duration::from_millis(40);
        let now = next_wake(Instant::now(), pause) + Duration::from_millis(3);
        let wake = next_wake(now, pause);
        assert!(wake > now && wake - now <= pause);
        for later_ms in [1, 7, 39] {
            let other = next_wake(now + Duration::from_millis(later_ms), pause);
            assert!(other == wake || other == wake + pause, "{later_ms}");
        }
        assert_eq!(next_wake(wake, pause), wake + pause);
    }
}
