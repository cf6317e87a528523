//! Detects whether a relay is too slow: it skips pictures, or its lag grows. Recovery takes longer to detect than the
//! beginning, so that states do not flap.

use std::time::Duration;

use tokio::time::Instant;

/// With this lag, for [`LAG_DURATION`], a relay will soon skip.
const LAG_MS: i64 = 4_000;
const LAG_DURATION: Duration = Duration::from_secs(2);
/// A lag that shrinks by this, in ms, within that time is being caught up: a relay starts at a keyframe, which may be
/// ten seconds old.
const SHRINKS_MS: i64 = 500;
/// With a smaller lag for [`NEAR_DURATION`], and without a skip for [`SKIP_DURATION`], a relay has caught up.
const NEAR_MS: i64 = 1_500;
const NEAR_DURATION: Duration = Duration::from_secs(10);
/// A relay that skips repeatedly counts as slow all the time. Ten seconds are kept for readers, and a server that takes
/// three quarters of a stream uses them up between two skips.
const SKIP_DURATION: Duration = Duration::from_secs(30);

/// The lag of a relay's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    is_behind: bool,
    skipped_frames: u64,
    skipped_at: Option<Instant>,
    /// Since when the lag is large, and its value then in ms.
    far_since: Option<(Instant, i64)>,
    /// Since when the lag is small.
    near_since: Option<Instant>,
}

impl Behind {
    /// A new connection.
    pub(super) fn new() -> Self {
        Self { is_behind: false, skipped_frames: 0, skipped_at: None, far_since: None, near_since: None }
    }

    /// Takes the lag and the number of skipped frames so far; returns whether the relay is too slow.
    pub(super) fn judge(&mut self, now: Instant, lag_ms: i64, skipped_frames: u64) -> bool {
        self.far_since = self.far_since.filter(|&(_, then_ms)| lag_ms > then_ms - SHRINKS_MS).or(Some((now, lag_ms)));
        self.far_since = self.far_since.filter(|_| lag_ms >= LAG_MS);
        self.near_since = self.near_since.or(Some(now)).filter(|_| lag_ms < NEAR_MS);
        if std::mem::replace(&mut self.skipped_frames, skipped_frames) < skipped_frames {
            self.skipped_at = Some(now);
        }
        let lasts = |since: Option<Instant>, long: Duration| since.is_some_and(|since| now - since >= long);
        let skips = self.skipped_at.is_some_and(|at| now - at < SKIP_DURATION);
        self.is_behind = if self.is_behind {
            skips || !lasts(self.near_since, NEAR_DURATION)
        } else {
            skips || lasts(self.far_since.map(|(since, _)| since), LAG_DURATION)
        };
        self.is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges twice a second, with the lag in ms and the skipped frames of each second. Returns the seconds of the
    /// changes.
    fn changes(seconds: u32, at: impl Fn(u32) -> (i64, u64)) -> Vec<u32> {
        let (mut behind, began) = (Behind::new(), Instant::now());
        let mut was = false;
        (0..2 * seconds)
            .filter_map(|n| {
                let (lag_ms, skipped) = at(n / 2);
                let is = behind.judge(began + Duration::from_millis(500) * n, lag_ms, skipped);
                (std::mem::replace(&mut was, is) != is).then_some(n / 2)
            })
            .collect()
    }

    #[test]
    fn skips_and_growing_lag_are_slow_and_small_lag_recovers() {
        assert_eq!(changes(120, |_| (900, 0)), [0; 0], "a GOP is not a lag");
        assert_eq!(changes(120, |second| (0, u64::from(second >= 10) * 25)), [10, 40]);
        assert_eq!(changes(120, |second| (if (10..30).contains(&second) { 5_000 } else { 0 }, 0)), [12, 40]);
        assert_eq!(changes(120, |second| (if second == 20 { 6_000 } else { 0 }, 0)), [0; 0], "a hiccup");
        let begins = |second: u32| (10_000 - i64::from(second) * 400, 0);
        assert_eq!(changes(25, begins), [0; 0], "it began at an old keyframe and catches up");
        assert_eq!(changes(25, |second| (10_000 - i64::from(second) * 100, 0)), [2], "it catches up too slowly");
    }

    #[test]
    fn repeated_skips_are_one_slow_period() {
        // Ten seconds of lag within 25 s, then a skip to the newest keyframe.
        let cycle = |second: u32| (i64::from(second % 25) * 400, u64::from(second / 25) * 200);
        assert_eq!(changes(600, cycle), [12]);
    }
}
