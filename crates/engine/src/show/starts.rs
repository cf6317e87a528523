//! Limits how often streams may start. Each start costs rows, relays and history entries, which one account must not
//! take from others by starting in a loop. An encoder that reconnects for minutes stays below the limit.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    limits::{StartLimits, StartRate},
    spec::{AccountId, ProjectId, ProjectSpec},
};

/// Tables are swept when they have grown by this many entries since the last sweep.
const SWEEP_STEP: usize = 256;

/// Counts starts by project (that is, by stream key) and by account.
#[derive(Debug)]
pub(crate) struct Starts {
    limits: StartLimits,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    projects: Buckets<ProjectId>,
    accounts: Buckets<AccountId>,
}

/// The time at which each bucket is full again; full buckets are not stored.
#[derive(Debug)]
struct Buckets<K> {
    full_at: HashMap<K, Instant>,
    sweep_at: usize,
}

/// A counted start. If it fails or is abandoned, dropping it reverses the count.
#[must_use]
#[derive(Debug)]
pub(crate) struct Start<'a> {
    starts: &'a Starts,
    of: (ProjectId, AccountId),
    happened: bool,
}

impl Starts {
    pub(crate) fn new(limits: StartLimits) -> Self {
        Self { limits, counted: Mutex::default() }
    }

    /// Counts a start; dropping the result without [`Start::happened`] reverses it. The error is the time until the
    /// next allowed start; such an attempt is not counted.
    pub(crate) fn count(&self, spec: &ProjectSpec, now: Instant) -> Result<Start<'_>, Duration> {
        let StartLimits { per_key, per_account } = self.limits;
        let mut counted = self.lock();
        let wait =
            counted
                .projects
                .wait(&spec.id, per_key, now)
                .max(counted.accounts.wait(&spec.account, per_account, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        counted.projects.take(spec.id, per_key, now);
        counted.accounts.take(spec.account, per_account, now);
        Ok(Start { starts: self, of: (spec.id, spec.account), happened: false })
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Start<'_> {
    /// The stream has started.
    pub(crate) fn happened(mut self) {
        self.happened = true;
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        if self.happened {
            return;
        }
        let StartLimits { per_key, per_account } = self.starts.limits;
        let (project, account) = self.of;
        let mut counted = self.starts.lock();
        counted.projects.give_back(&project, per_key);
        counted.accounts.give_back(&account, per_account);
    }
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self { full_at: HashMap::new(), sweep_at: SWEEP_STEP }
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Time until the bucket holds one start.
    fn wait(&self, key: &K, limit: StartRate, now: Instant) -> Duration {
        let missing = self.full_at.get(key).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        (missing + limit.interval).saturating_sub(limit.interval * limit.burst)
    }

    fn take(&mut self, key: K, limit: StartRate, now: Instant) {
        if self.full_at.len() >= self.sweep_at {
            self.full_at.retain(|_, at| *at > now);
            self.sweep_at = self.full_at.len() + SWEEP_STEP;
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        *full_at = (*full_at).max(now) + limit.interval;
    }

    fn give_back(&mut self, key: &K, limit: StartRate) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.checked_sub(limit.interval).unwrap_or(*full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::spec::{Goodbye, StreamKey};

    fn spec(project: u128, account: u128) -> ProjectSpec {
        ProjectSpec {
            id: ProjectId(Uuid::from_u128(project)),
            account: AccountId(Uuid::from_u128(account)),
            stream_key: StreamKey::new("key"),
            playback_id: String::new(),
            goodbye: Goodbye::Ends,
            destinations: vec![],
        }
    }

    fn count(starts: &Starts, project: u128, account: u128, now: Instant) -> Result<(), Duration> {
        starts.count(&spec(project, account), now).map(Start::happened)
    }

    #[test]
    fn start_loop_is_slowed_down_and_others_are_not() {
        let (limits, now) = (StartLimits::default(), Instant::now());
        let starts = Starts::new(limits);
        let passed = (0..1_000).take_while(|_| count(&starts, 1, 1, now).is_ok());
        assert_eq!(passed.count(), limits.per_key.burst as usize);
        assert_eq!(count(&starts, 1, 1, now), Err(limits.per_key.interval));
        count(&starts, 2, 2, now).expect("another account");
        count(&starts, 3, 1, now).expect("another project of the same account");
        count(&starts, 1, 1, now + limits.per_key.interval).expect("one more in each interval");
        count(&starts, 1, 1, now + limits.per_key.interval).expect_err("and not two");
    }

    #[test]
    fn account_cannot_continue_with_another_project() {
        let (limits, now) = (StartLimits::default(), Instant::now());
        let starts = Starts::new(limits);
        let passed = (0..1_000).take_while(|n| count(&starts, *n, 1, now).is_ok());
        assert_eq!(passed.count(), limits.per_account.burst as usize);
    }

    #[test]
    fn failed_start_does_not_count() {
        let (starts, now) = (Starts::new(StartLimits::default()), Instant::now());
        for _ in 0..1_000 {
            drop(starts.count(&spec(1, 1), now).expect("is let in"));
        }
    }

    /// OBS retries after 2, 3, 4.5 s and so on: ten times within a minute, while the network is bad.
    #[test]
    fn encoder_on_a_bad_network_is_not_limited() {
        let (starts, now) = (Starts::new(StartLimits::default()), Instant::now());
        for n in 0..600 {
            count(&starts, 1, 1, now + Duration::from_secs(6 * n)).expect("is let in");
        }
    }

    #[test]
    fn full_buckets_are_removed() {
        let (starts, now) = (Starts::new(StartLimits::default()), Instant::now());
        for n in 0..100_000 {
            let _ = count(&starts, n, n, now + Duration::from_millis(100 * n as u64));
        }
        let counted = starts.lock();
        assert!(counted.projects.full_at.len() <= 2 * SWEEP_STEP && counted.accounts.full_at.len() <= 2 * SWEEP_STEP);
    }
}
