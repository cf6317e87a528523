//! Detects outdated answers of the control plane. A key can be revoked between the answer and its use; without this
//! check its user would stay.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// Revocations are kept for this long. Older answers are outdated anyway: the control plane answers within seconds.
const KEPT: Duration = Duration::from_secs(60);

/// A token for a question: when it was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    number: u64,
    at: Instant,
}

/// Revocations of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// Number of revocations so far. Numbers are unique, unlike times.
    count: u64,
    projects: HashMap<ProjectId, (u64, Instant)>,
}

impl Revoked {
    pub(crate) fn asked(&self, now: Instant) -> Asked {
        Asked { number: self.count, at: now }
    }

    pub(crate) fn add(&mut self, project: ProjectId, now: Instant) {
        self.projects.retain(|_, (_, at)| now.saturating_duration_since(*at) < KEPT);
        self.count += 1;
        self.projects.insert(project, (self.count, now));
    }

    /// Whether an answer to that question may be outdated.
    pub(crate) fn concerns(&self, project: ProjectId, asked: Asked, now: Instant) -> bool {
        let revoked_since = self.projects.get(&project).is_some_and(|(number, _)| *number > asked.number);
        revoked_since || now.saturating_duration_since(asked.at) >= KEPT
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn answers_before_a_revocation_or_older_than_a_minute_are_outdated() {
        let (mut revoked, now) = (Revoked::default(), Instant::now());
        let (project, other) = (ProjectId(Uuid::from_u128(1)), ProjectId(Uuid::from_u128(2)));
        let before = revoked.asked(now);
        assert!(!revoked.concerns(project, before, now));
        revoked.add(project, now);
        let after = revoked.asked(now);
        assert!(revoked.concerns(project, before, now) && !revoked.concerns(project, after, now));
        assert!(!revoked.concerns(other, before, now));

        let later = now + KEPT;
        revoked.add(other, later);
        assert_eq!(revoked.projects.len(), 1, "older revocations are removed");
        assert!(revoked.concerns(project, before, later), "and stays outdated");
    }
}
