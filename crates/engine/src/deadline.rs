//! Deadlines for peers that count only the time while this process runs. After a stop (suspended machine, migration,
//! debugger) all timers have expired, and the runtime reports them before it reports the data that arrived meanwhile.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep};

/// The most that a stop of the process counts.
const STEP: Duration = Duration::from_secs(1);

/// Resolves when the process has run for `limit`.
pub(crate) async fn run_time(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let step = left.min(STEP);
        sleep(step).await;
        left -= step;
    }
}

/// Detects that a peer has been silent for `limit` while the process ran. Needs one timer per second, however often
/// data arrives.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    left: Duration,
    step: Pin<Box<Sleep>>,
}

impl Silence {
    /// Starts with a full limit.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, left: limit, step: Box::pin(sleep(limit.min(STEP))) }
    }

    /// Data arrived: the silence starts again.
    pub(crate) fn reset(&mut self) {
        // The running step does not count.
        self.left = self.limit + self.limit.min(STEP);
    }

    /// Resolves when the silence has lasted for the limit, or at most a second later. Cancel safe.
    pub(crate) async fn elapsed(&mut self) {
        loop {
            self.step.as_mut().await;
            self.left = self.left.saturating_sub(self.limit.min(STEP));
            self.step.as_mut().reset(Instant::now() + self.left.min(STEP));
            if self.left.is_zero() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_of_the_process_counts_as_at_most_one_step() {
        let limit = Duration::from_millis(15_500);
        let begun = Instant::now();
        run_time(limit).await;
        assert_eq!(begun.elapsed(), limit);
        let mut silence = Silence::new(limit);
        silence.elapsed().await;
        assert_eq!(begun.elapsed(), 2 * limit);

        // Data that arrived during the stop is read a moment after it.
        let mut silence = Silence::new(limit);
        advance(Duration::from_secs(60)).await;
        timeout(Duration::ZERO, silence.elapsed()).await.expect_err("has not elapsed");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_reset() {
        let begun = Instant::now();
        let mut silence = Silence::new(Duration::from_secs(15));
        for _ in 0..100 {
            timeout(Duration::from_millis(400), silence.elapsed()).await.expect_err("has not elapsed");
            silence.reset();
        }
        silence.elapsed().await;
        let lasted = begun.elapsed() - Duration::from_secs(40);
        assert!(lasted >= Duration::from_secs(15) && lasted <= Duration::from_secs(16), "{lasted:?}");
    }
}
