//! How fast a stream may come, and how long one that came too fast stays out.
//!
//! What counts is what arrives by our own clock: times on the wire are the encoder's to invent. An encoder that comes back
//! within seconds, as OBS does, would begin a new broadcast on every platform each time; so its key rests for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// So much of the allowed rate may come at once: what an encoder has saved up while its network was away.
const BURST: Duration = Duration::from_secs(10);
/// How long a key rests after the first time. OBS tries six times within it, and each try shows why not.
const REST: Duration = Duration::from_secs(60);
/// With each time it doubles, up to this many times: half an hour.
const DOUBLINGS_MAX: u32 = 5;
/// After so long without another time it is forgotten.
const FORGET: Duration = Duration::from_secs(3_600);

/// A bucket with a hole: what arrives fills it, the allowed rate empties it. Twice the rate fills it in ten seconds, a tenth
/// too much in a hundred, and a jam that dissolves does not fill it at all.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    bits: u64,
    at: Option<Instant>,
}

impl Pace {
    /// Counts what arrived. Tells whether more came than the allowed rate bears.
    pub(crate) fn exceeds(&mut self, allowed_kbps: u32, bytes: usize, now: Instant) -> bool {
        // Kilobits per second are bits per millisecond. Parts of a millisecond are left for the next time.
        let (per_ms, before) = (u64::from(allowed_kbps), self.at.unwrap_or(now));
        let ms = (now - before).as_millis() as u64;
        self.at = Some(before + Duration::from_millis(ms));
        self.bits = self.bits.saturating_sub(ms.saturating_mul(per_ms)).saturating_add(bytes as u64 * 8);
        self.bits > per_ms * BURST.as_millis() as u64
    }
}

/// The projects whose key rests.
#[derive(Debug, Default)]
pub(crate) struct Resting(Mutex<HashMap<ProjectId, Rest>>);

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    times: u32,
}

impl Resting {
    /// The project's stream came too fast.
    pub(crate) fn begin(&self, project: ProjectId, now: Instant) {
        let mut resting = self.lock();
        resting.retain(|_, rest| now < rest.until + FORGET);
        let times = resting.get(&project).map_or(0, |rest| rest.times);
        let until = now + REST * (1 << times.min(DOUBLINGS_MAX));
        resting.insert(project, Rest { until, times: times + 1 });
    }

    /// How long the project's key still rests, if it does.
    pub(crate) fn left(&self, project: ProjectId, now: Instant) -> Option<Duration> {
        let until = self.lock().get(&project)?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A poisoned lock still guards a whole map.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// How long a stream of that rate lasts within an hour, in tenths of a second, if it ends.
    fn lasts(sent_kbps: usize, allowed_kbps: u32) -> Option<u64> {
        let began = Instant::now();
        let mut pace = Pace::default();
        let tenth = sent_kbps * 100 / 8;
        (0..36_000).find(|n| pace.exceeds(allowed_kbps, tenth, began + Duration::from_millis(100 * n)))
    }

    #[test]
    fn the_faster_a_stream_comes_the_sooner_it_ends() {
        assert_eq!(lasts(1_000, 1_000), None);
        assert_eq!(lasts(2_000, 1_000), Some(99));
        assert_eq!(lasts(1_100, 1_000), Some(990));
        assert_eq!(lasts(11_000, 1_000), Some(9));
    }

    #[test]
    fn what_a_jam_held_back_may_come_at_once() {
        let began = Instant::now();
        let mut pace = Pace::default();
        // Ten seconds at the full rate of 1 MB/s, after as long without a byte.
        assert!(!pace.exceeds(8_000, 1_000, began));
        assert!(!pace.exceeds(8_000, 10_000_000, began + Duration::from_secs(10)));
        assert!(pace.exceeds(8_000, 1_000, began + Duration::from_secs(10)));
        assert!(!pace.exceeds(8_000, 0, began + Duration::from_secs(11)), "and it drains");
    }

    #[test]
    fn a_key_rests_longer_each_time_and_it_is_forgotten() {
        let (resting, project, began) = (Resting::default(), ProjectId(Uuid::nil()), Instant::now());
        assert_eq!(resting.left(project, began), None);
        let mut now = began;
        for minutes in [1, 2, 4, 8, 16, 32, 32] {
            resting.begin(project, now);
            assert_eq!(resting.left(project, now), Some(Duration::from_secs(60 * minutes)));
            now += Duration::from_secs(60 * minutes);
            assert_eq!(resting.left(project, now), None);
        }
        resting.begin(project, now + FORGET);
        assert_eq!(resting.left(project, now + FORGET), Some(REST));
        assert_eq!(resting.left(ProjectId(Uuid::from_u128(1)), now), None, "others are let in");
    }
}
