//! Which answers of the control plane count no longer: a key can be revoked between the answer and the moment in which it is
//! used, and those who used it then would stay.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// So long it is remembered what was revoked. An older answer is outdated in any case: the control plane answers within
/// seconds.
const KEPT: Duration = Duration::from_secs(60);

/// When a question was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    number: u64,
    at: Instant,
}

/// What was revoked in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// Revocations so far: two moments may be the same, two numbers are not.
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

    /// Whether an answer to a question of that time may be outdated.
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
    fn answers_from_before_a_revocation_or_a_minute_ago_count_no_longer() {
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
        assert_eq!(revoked.projects.len(), 1, "what is older is forgotten");
        assert!(revoked.concerns(project, before, later), "and still does not count");
    }
}
