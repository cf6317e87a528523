//! Limits how often a project may start relays (by switching, changing or adding destinations). Each start makes a
//! connection to another server.

use std::time::Duration;

use tokio::time::Instant;

/// Relays that may start at once in every project: enough for a day of manual changes.
const BURST_MIN: u32 = 256;
/// Time per further relay.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts the started relays of one live project.
#[derive(Debug)]
pub(crate) struct Starts {
    /// When the full burst is available again.
    free_at: Instant,
}

impl Starts {
    /// A full burst.
    pub(crate) fn new(now: Instant) -> Self {
        Self { free_at: now }
    }

    /// Counts a relay of a project with `relays` relays; returns when it may start. All relays of a project may start
    /// twice at once.
    pub(crate) fn next(&mut self, relays: usize, now: Instant) -> Instant {
        let burst = BURST_MIN.max(u32::try_from(relays).unwrap_or(u32::MAX).saturating_mul(2));
        self.free_at = self.free_at.max(now) + INTERVAL;
        let waits = (self.free_at - now).saturating_sub(INTERVAL.saturating_mul(burst));
        now + waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_that_are_switched_repeatedly_start_slowly() {
        let now = Instant::now();
        let mut starts = Starts::new(now);
        for _ in 0..BURST_MIN {
            assert_eq!(starts.next(1, now), now);
        }
        assert_eq!(starts.next(1, now), now + INTERVAL);
        assert_eq!(starts.next(1, now), now + INTERVAL * 2);
        assert_eq!(starts.next(1, now + INTERVAL * 2), now + INTERVAL * 3, "one more per second");
        let later = now + INTERVAL * BURST_MIN * 3;
        assert_eq!(starts.next(1, later), later);
    }

    #[test]
    fn all_relays_of_a_large_project_start_at_once() {
        let now = Instant::now();
        let mut starts = Starts::new(now);
        for _ in 0..2_000 {
            assert_eq!(starts.next(1_000, now), now);
        }
        assert!(starts.next(1_000, now) > now);
    }
}
