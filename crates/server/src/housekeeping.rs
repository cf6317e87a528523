//! What is forgotten, once an hour: sessions and tokens that ended, timelines and audit lines that are old. All of it by the clock,
//! which may be wrong: a machine whose battery is dead starts years away and is put right by the network minutes later, and what was
//! deleted until then is gone. So the clock is believed only after it was seen to go for a while as time goes.

use std::time::{Duration, SystemTime};

use gostream_store::Store;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// How often it is looked for what may go.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// How long it is remembered what happened to each relay. The streams themselves stay in the history.
const TIMELINES_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long it is remembered who did what.
const AUDIT_KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// A clock that is that far ahead of all that is stored was put forward, or nobody used the server in between.
const LONG_AWAY: Duration = Duration::from_secs(14 * 24 * 3_600);
/// For so long it has to go on by itself then.
const PROBATION: Duration = Duration::from_secs(24 * 3_600);
/// In an hour it may be put right by so much.
const DRIFT_MAX: Duration = Duration::from_secs(300);

/// Whether the clock can be believed.
#[derive(Debug)]
struct Clock {
    /// When it last was set, as far as is known, and what it said.
    set: (Instant, SystemTime),
    /// How long it has to go on from there.
    probation: Duration,
}

impl Clock {
    /// Of a server whose newest row is from then.
    fn new(newest: Option<OffsetDateTime>, now: (Instant, SystemTime)) -> Self {
        let away = newest.and_then(|newest| now.1.duration_since(newest.into()).ok()).unwrap_or_default();
        let is_long = away > LONG_AWAY;
        if is_long {
            tracing::warn!(
                days = away.as_secs() / 86_400,
                "The newest entry in the database is old: either the server was off for that long, or its clock is wrong. \
                 Nothing is forgotten before the clock has gone on for a day."
            );
        }
        Self { set: now, probation: if is_long { PROBATION } else { Duration::ZERO } }
    }

    /// Whether to go by it.
    fn is_believed(&mut self, now: (Instant, SystemTime)) -> bool {
        let elapsed = now.0 - self.set.0;
        let shown = now.1.duration_since(self.set.1);
        let off = shown.map_or(Duration::MAX, |shown| shown.abs_diff(elapsed));
        // A clock that is put right step by step stays within this bound for each hour.
        let hours = u32::try_from(elapsed.as_secs() / INTERVAL.as_secs()).unwrap_or(u32::MAX).max(1);
        if off > DRIFT_MAX.saturating_mul(hours) {
            tracing::warn!("The clock was set. Nothing is forgotten before it has gone on for a day.");
            *self = Self { set: now, probation: PROBATION };
            return false;
        }
        elapsed >= self.probation
    }
}

/// Forgets what may go, until `stop`.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    let present = || (Instant::now(), SystemTime::now());
    let newest = store.newest_entry().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "It is not known when the server was last used.");
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
        if clock.is_believed(present()) {
            forget(&store, OffsetDateTime::now_utc()).await;
        }
    }
}

async fn forget(store: &Store, now: OffsetDateTime) {
    if let Err(error) = store.prune_sessions(now).await {
        tracing::warn!(%error, "Expired sessions could not be deleted.");
    }
    if let Err(error) = store.prune_tokens(now).await {
        tracing::warn!(%error, "API tokens that ended could not be deleted.");
    }
    if let Err(error) = store.forget_stream_events(now - TIMELINES_KEPT).await {
        tracing::warn!(%error, "Old timelines could not be deleted.");
    }
    if let Err(error) = store.forget_audit(now - AUDIT_KEPT).await {
        tracing::warn!(%error, "The old part of the audit log could not be deleted.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = INTERVAL;
    const DAY: Duration = PROBATION;

    #[test]
    fn a_clock_that_starts_years_ahead_is_not_believed_until_it_has_gone_on() {
        let (start, wrong) = (Instant::now(), SystemTime::now() + 4 * 365 * DAY);
        let mut clock = Clock::new(Some(OffsetDateTime::now_utc()), (start, wrong));
        assert!(!clock.is_believed((start + HOUR, wrong + HOUR)));
        // The network puts it right.
        let right = wrong - 4 * 365 * DAY;
        assert!(!clock.is_believed((start + 2 * HOUR, right + 2 * HOUR)));
        assert!(!clock.is_believed((start + 25 * HOUR, right + 25 * HOUR)));
        assert!(clock.is_believed((start + 26 * HOUR, right + 26 * HOUR)));
    }

    #[test]
    fn a_clock_that_is_put_years_ahead_is_not_believed() {
        let (start, right) = (Instant::now(), SystemTime::now());
        let mut clock = Clock::new(Some(OffsetDateTime::now_utc() - time::Duration::HOUR), (start, right));
        assert!(clock.is_believed((start + HOUR, right + HOUR)));
        let wrong = right + 4 * 365 * DAY;
        for hours in 2..26 {
            assert!(!clock.is_believed((start + hours * HOUR, wrong + hours * HOUR)), "{hours}");
        }
    }

    #[test]
    fn an_usual_clock_is_believed_for_months() {
        let (start, right) = (Instant::now(), SystemTime::now());
        for newest in [None, Some(OffsetDateTime::now_utc()), Some(OffsetDateTime::now_utc() + time::Duration::DAY)] {
            let mut clock = Clock::new(newest, (start, right));
            for hours in 1..3_000 {
                // It drifts by a minute a day.
                let shown = right + hours * HOUR + hours * Duration::from_millis(2_500);
                assert!(clock.is_believed((start + hours * HOUR, shown)), "{hours}");
            }
        }
    }
}
