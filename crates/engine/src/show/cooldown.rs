//! How long a stream that came too fast stays out. An encoder that comes back within seconds, as OBS does, would begin a new
//! broadcast on every platform each time; so its key rests for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// How long a key rests after the first time. OBS tries six times within it, and each try shows why not.
const REST: Duration = Duration::from_secs(60);

/// With each time it doubles, up to this many times: half an hour.
const DOUBLINGS_MAX: u32 = 5;

/// After so long without another time it is forgotten.
const FORGET: Duration = Duration::from_secs(3_600);

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
