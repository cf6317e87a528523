//! Whether a relay falls behind: it skips pictures, or is further behind the encoder with every moment. Takes longer to believe
//! that it is over than that it began.

use std::time::Duration;

use tokio::time::Instant;

/// This far behind, for [`LAG_LASTS`], a relay is on its way to skip.
const LAG_MS: i64 = 4_000;
const LAG_LASTS: Duration = Duration::from_secs(2);
/// A lag that shrinks by this within that time is being made up for: a relay begins at a keyframe, which may be ten seconds old.
const SHRINKS_MS: i64 = 500;
/// Nearer than this for [`WELL_LASTS`], and without a skip for [`SKIP_COUNTS`], it has caught up.
const NEAR_MS: i64 = 1_500;
const WELL_LASTS: Duration = Duration::from_secs(10);
/// What falls behind, skips and falls behind again is one trouble: ten seconds are held for readers, and a server that takes
/// three quarters of a stream needs them all before the next skip.
const SKIP_COUNTS: Duration = Duration::from_secs(30);

/// What is known of a relay's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    is_behind: bool,
    skipped_frames: u64,
    skipped_at: Option<Instant>,
    /// Since when it has been far behind, and how far it was then.
    far_since: Option<(Instant, i64)>,
    /// Since when it has been near.
    near_since: Option<Instant>,
}

impl Behind {
    /// A connection that just began.
    pub(super) fn new() -> Self {
        Self { is_behind: false, skipped_frames: 0, skipped_at: None, far_since: None, near_since: None }
    }

    /// Takes how far behind the relay is, and what it skipped so far, and says whether it falls behind.
    pub(super) fn judge(&mut self, now: Instant, lag_ms: i64, skipped_frames: u64) -> bool {
        self.far_since = self.far_since.filter(|&(_, then_ms)| lag_ms > then_ms - SHRINKS_MS).or(Some((now, lag_ms)));
        self.far_since = self.far_since.filter(|_| lag_ms >= LAG_MS);
        self.near_since = self.near_since.or(Some(now)).filter(|_| lag_ms < NEAR_MS);
        if std::mem::replace(&mut self.skipped_frames, skipped_frames) < skipped_frames {
            self.skipped_at = Some(now);
        }
        let lasts = |since: Option<Instant>, long: Duration| since.is_some_and(|since| now - since >= long);
        let skips = self.skipped_at.is_some_and(|at| now - at < SKIP_COUNTS);
        self.is_behind = if self.is_behind {
            skips || !lasts(self.near_since, WELL_LASTS)
        } else {
            skips || lasts(self.far_since.map(|(since, _)| since), LAG_LASTS)
        };
        self.is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges twice a second, by the lag in ms and the frames skipped at each second, and gives the seconds of turns.
    fn turns(seconds: u32, at: impl Fn(u32) -> (i64, u64)) -> Vec<u32> {
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
    fn who_skips_falls_behind_and_who_keeps_near_has_caught_up() {
        assert_eq!(turns(120, |_| (900, 0)), [0; 0], "a GOP is no lag");
        assert_eq!(turns(120, |second| (0, u64::from(second >= 10) * 25)), [10, 40]);
        assert_eq!(turns(120, |second| (if (10..30).contains(&second) { 5_000 } else { 0 }, 0)), [12, 40]);
        assert_eq!(turns(120, |second| (if second == 20 { 6_000 } else { 0 }, 0)), [0; 0], "a hiccup");
        let begins = |second: u32| (10_000 - i64::from(second) * 400, 0);
        assert_eq!(turns(25, begins), [0; 0], "it began at an old keyframe, and is catching up");
        assert_eq!(turns(25, |second| (10_000 - i64::from(second) * 100, 0)), [2], "that would take too long");
    }

    #[test]
    fn who_skips_again_and_again_has_one_trouble() {
        // Ten seconds behind within 25, and back at the newest keyframe.
        let cycle = |second: u32| (i64::from(second % 25) * 400, u64::from(second / 25) * 200);
        assert_eq!(turns(600, cycle), [12]);
    }
}
