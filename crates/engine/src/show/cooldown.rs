//! The cooldown of a key after its stream exceeded the ingest limits. An encoder that reconnects within seconds, as OBS
//! does, would otherwise start a new broadcast on every platform each time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// The first cooldown. OBS retries six times within it, and shows the reason each time.
const FIRST: Duration = Duration::from_secs(60);

/// Each further cooldown is twice as long, up to this many times: half an hour.
const DOUBLINGS_MAX: u32 = 5;

/// An excess is forgotten this long after the end of its cooldown.
const FORGET: Duration = Duration::from_secs(3_600);

/// The cooldowns by project.
#[derive(Debug, Default)]
pub(crate) struct Cooldown(Mutex<HashMap<ProjectId, Entry>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    until: Instant,
    times: u32,
}

impl Cooldown {
    /// The project's stream exceeded a limit.
    pub(crate) fn begin(&self, project: ProjectId, now: Instant) {
        let mut cooldown = self.lock();
        cooldown.retain(|_, entry| now < entry.until + FORGET);
        let times = cooldown.get(&project).map_or(0, |entry| entry.times);
        let until = now + FIRST * (1 << times.min(DOUBLINGS_MAX));
        cooldown.insert(project, Entry { until, times: times + 1 });
    }

    /// The remaining cooldown of the project's key, if any.
    pub(crate) fn left(&self, project: ProjectId, now: Instant) -> Option<Duration> {
        let until = self.lock().get(&project)?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn cooldown_doubles_each_time_and_is_forgotten() {
        let (cooldown, project, began) = (Cooldown::default(), ProjectId(Uuid::nil()), Instant::now());
        assert_eq!(cooldown.left(project, began), None);
        let mut now = began;
        for minutes in [1, 2, 4, 8, 16, 32, 32] {
            cooldown.begin(project, now);
            assert_eq!(cooldown.left(project, now), Some(Duration::from_secs(60 * minutes)));
            now += Duration::from_secs(60 * minutes);
            assert_eq!(cooldown.left(project, now), None);
        }
        cooldown.begin(project, now + FORGET);
        assert_eq!(cooldown.left(project, now + FORGET), Some(FIRST));
        assert_eq!(cooldown.left(ProjectId(Uuid::from_u128(1)), now), None, "other projects have none");
    }
}
