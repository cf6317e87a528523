//! Waiting for others only while this process runs. One that was stopped (a machine that slept, a migration, a debugger) finds all of
//! its deadlines over when it goes on, and the system tells it of those before it tells of what arrived meanwhile.

use std::time::Duration;

use tokio::time::{error::Elapsed, sleep, timeout};

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

/// What comes of `work` while the process runs for so long.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::pin!(work);
    let mut left = limit;
    loop {
        let step = left.min(STEP);
        let waited = timeout(step, &mut work).await;
        left -= step;
        if waited.is_ok() || left.is_zero() {
            return waited;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_of_the_process_counts_as_a_moment() {
        let limit = Duration::from_millis(15_500);
        let begun = Instant::now();
        run_time(limit).await;
        assert_eq!(begun.elapsed(), limit);
        within(limit, std::future::pending::<()>()).await.expect_err("comes to nothing");
        assert_eq!(begun.elapsed(), 2 * limit);

        // What arrived during the stop is heard of a moment after it.
        let (tell, told) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(within(limit, told));
        tokio::task::yield_now().await;
        advance(Duration::from_secs(60)).await;
        tokio::task::yield_now().await;
        tell.send(()).expect("waits still");
        waiting.await.expect("ends").expect("is in time").expect("is told");
    }
}
