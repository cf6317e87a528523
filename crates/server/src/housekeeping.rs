//! Deletes expired sessions and tokens, old timelines and old audit lines, once an hour. All of these depend on the
//! clock, which may be wrong: a machine with an empty battery starts with a time that is years off, and the network
//! corrects it minutes later. Rows deleted until then would be lost. So the clock is trusted only after it was seen to
//! run steadily for a while.

use std::time::{Duration, SystemTime};

use gostream_store::Store;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// The interval between two runs.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// How long timelines are kept. The streams themselves stay in the history.
const TIMELINES_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long audit lines are kept.
const AUDIT_KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// If the clock is this far ahead of the newest row, either it was set forward or the server was unused for that long.
const LONG_AWAY: Duration = Duration::from_secs(14 * 24 * 3_600);
/// How long the clock must run steadily in that case.
const PROBATION: Duration = Duration::from_secs(24 * 3_600);
/// The most that the clock may be corrected within an hour.
const DRIFT_MAX: Duration = Duration::from_secs(300);

/// Decides whether the clock can be trusted.
#[derive(Debug)]
struct Clock {
    /// When the clock was last set, as far as known, and the time that it showed.
    set: (Instant, SystemTime),
    /// How long it must run steadily from then on.
    probation: Duration,
}

impl Clock {
    /// A clock, given the time of the newest row.
    fn new(newest: Option<OffsetDateTime>, now: (Instant, SystemTime)) -> Self {
        let away = newest.and_then(|newest| now.1.duration_since(newest.into()).ok()).unwrap_or_default();
        let is_long = away > LONG_AWAY;
        if is_long {
            tracing::warn!(
                days = away.as_secs() / 86_400,
                "The newest entry in the database is old: either the server was off for that long, or its clock is wrong. \
                 Nothing is deleted until the clock has run steadily for a day."
            );
        }
        Self { set: now, probation: if is_long { PROBATION } else { Duration::ZERO } }
    }

    /// Whether the clock can be trusted.
    fn is_trusted(&mut self, now: (Instant, SystemTime)) -> bool {
        let elapsed = now.0 - self.set.0;
        let shown = now.1.duration_since(self.set.1);
        let off = shown.map_or(Duration::MAX, |shown| shown.abs_diff(elapsed));
        // A clock that is corrected in small steps stays within this bound per hour.
        let hours = u32::try_from(elapsed.as_secs() / INTERVAL.as_secs()).unwrap_or(u32::MAX).max(1);
        if off > DRIFT_MAX.saturating_mul(hours) {
            tracing::warn!("The clock was set. Nothing is deleted until it has run steadily for a day.");
            *self = Self { set: now, probation: PROBATION };
            return false;
        }
        elapsed >= self.probation
    }
}

/// Deletes old rows until `stop`.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    let present = || (Instant::now(), SystemTime::now());
    let newest = store.newest_entry().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "The last use of the server is unknown.");
        None
    });
    let mut clock = Clock::new(newest, present());
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if clock.is_trusted(present()) {
            forget(&store, OffsetDateTime::now_utc()).await;
        }
    }
}

async fn forget(store: &Store, now: OffsetDateTime) {
    if let Err(error) = store.prune_sessions(now).await {
        tracing::warn!(%error, "Expired sessions could not be deleted.");
    }
    if let Err(error) = store.prune_tokens(now).await {
        tracing::warn!(%error, "Expired API tokens could not be deleted.");
    }
    if let Err(error) = store.forget_stream_events(now - TIMELINES_KEPT).await {
        tracing::warn!(%error, "Old timelines could not be deleted.");
    }
    if let Err(error) = store.forget_audit(now - AUDIT_KEPT).await {
        tracing::warn!(%error, "Old lines of the audit log could not be deleted.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = INTERVAL;
    const DAY: Duration = PROBATION;

    #[test]
    fn a_clock_that_starts_years_ahead_is_not_trusted_until_it_runs_steadily() {
        let (start, wrong) = (Instant::now(), SystemTime::now() + 4 * 365 * DAY);
        let mut clock = Clock::new(Some(OffsetDateTime::now_utc()), (start, wrong));
        assert!(!clock.is_trusted((start + HOUR, wrong + HOUR)));
        // The network corrects the clock.
        let right = wrong - 4 * 365 * DAY;
        assert!(!clock.is_trusted((start + 2 * HOUR, right + 2 * HOUR)));
        assert!(!clock.is_trusted((start + 25 * HOUR, right + 25 * HOUR)));
        assert!(clock.is_trusted((start + 26 * HOUR, right + 26 * HOUR)));
    }

    #[test]
    fn a_clock_that_is_set_years_ahead_is_not_trusted() {
        let (start, right) = (Instant::now(), SystemTime::now());
        let mut clock = Clock::new(Some(OffsetDateTime::now_utc() - time::Duration::HOUR), (start, right));
        assert!(clock.is_trusted((start + HOUR, right + HOUR)));
        let wrong = right + 4 * 365 * DAY;
        for hours in 2..26 {
            assert!(!clock.is_trusted((start + hours * HOUR, wrong + hours * HOUR)), "{hours}");
        }
    }

    #[test]
    fn a_normal_clock_is_trusted_for_months() {
        let (start, right) = (Instant::now(), SystemTime::now());
        for newest in [None, Some(OffsetDateTime::now_utc()), Some(OffsetDateTime::now_utc() + time::Duration::DAY)] {
            let mut clock = Clock::new(newest, (start, right));
            for hours in 1..3_000 {
                // The clock drifts by a minute a day.
                let shown = right + hours * HOUR + hours * Duration::from_millis(2_500);
                assert!(clock.is_trusted((start + hours * HOUR, shown)), "{hours}");
            }
        }
    }
}
