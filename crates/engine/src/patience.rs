//! Waiting for others only while this process runs. One that was stopped (a machine that slept, a migration, a debugger) finds all of
//! its deadlines over when it goes on, and the system tells it of those before it tells of what arrived meanwhile.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep};

/// Of a stop, no more than this is counted.
const STEP: Duration = Duration::from_secs(1);

/// Ends when the process has run for so long.
pub(crate) async fn run_time(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let step = left.min(STEP);
        sleep(step).await;
        left -= step;
    }
}

/// Notices that the other end has been silent for that long while the process ran. One timer a second, however often something is heard.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    left: Duration,
    step: Pin<Box<Sleep>>,
}

impl Silence {
    /// Begins to listen.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, left: limit, step: Box::pin(sleep(limit.min(STEP))) }
    }

    /// Something was heard.
    pub(crate) fn heard(&mut self) {
        // The step that runs is not counted.
        self.left = self.limit + self.limit.min(STEP);
    }

    /// Ends when the silence has lasted long enough, or at most a second later. Cancel safe.
    pub(crate) async fn is_long(&mut self) {
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
    async fn a_stop_of_the_process_counts_as_a_moment() {
        let limit = Duration::from_millis(15_500);
        let begun = Instant::now();
        run_time(limit).await;
        assert_eq!(begun.elapsed(), limit);
        let mut silence = Silence::new(limit);
        silence.is_long().await;
        assert_eq!(begun.elapsed(), 2 * limit);

        // What arrived during the stop is heard of a moment after it.
        let mut silence = Silence::new(limit);
        advance(Duration::from_secs(60)).await;
        timeout(Duration::ZERO, silence.is_long()).await.expect_err("is not long");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_what_was_heard_last() {
        let begun = Instant::now();
        let mut silence = Silence::new(Duration::from_secs(15));
        for _ in 0..100 {
            timeout(Duration::from_millis(400), silence.is_long()).await.expect_err("is not long");
            silence.heard();
        }
        silence.is_long().await;
        let lasted = begun.elapsed() - Duration::from_secs(40);
        assert!(lasted >= Duration::from_secs(15) && lasted <= Duration::from_secs(16), "{lasted:?}");
    }
}
