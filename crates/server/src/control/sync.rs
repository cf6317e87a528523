//! Whether the changes of a project are applied. The server that runs its stream keeps this in memory.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use gostream_engine::spec::ProjectId;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Why changes of a project are not applied yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SyncErrorCode)]
pub(crate) enum Cause {
    /// The database did not return the rows in time.
    #[serde(rename = "database_slow")]
    Late,
    /// The rows cannot be read.
    #[serde(rename = "rows_unreadable")]
    Unreadable,
}

/// The reason why changes of a project are not applied yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncError {
    /// The cause of the last failed attempt.
    pub(crate) cause: Cause,
    /// When the first of the consecutive failed attempts ended.
    pub(crate) since: OffsetDateTime,
}

/// The live projects whose last attempt failed.
#[derive(Debug, Default)]
pub(crate) struct SyncErrors(Mutex<HashMap<ProjectId, SyncError>>);

/// The effect of an attempt on the recorded state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// No change.
    Same,
    /// The project starts to fail.
    Fails,
    /// The project fails for another cause.
    FailsOtherwise,
    /// It no longer fails.
    Recovers,
}

impl Cause {
    /// The problem and its remedy, for the owner.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Late => {
                "The database takes too long to respond for this project. The stream continues unchanged, and the server tries again \
                 every few seconds. If this continues, ask the operator to check the database."
            }
            Self::Unreadable => {
                "The data of this project cannot be read. The stream continues unchanged, and the server tries again every few \
                 seconds. If this continues, ask the operator: the server's log has the reason."
            }
        }
    }
}

impl SyncErrors {
    /// The error of a project; `None` if its changes are applied, or if its stream does not run on this server.
    pub(crate) fn of(&self, project: ProjectId) -> Option<SyncError> {
        self.lock().get(&project).copied()
    }

    /// Records the result of an attempt.
    pub(super) fn note(&self, project: ProjectId, failure: Option<Cause>, now: OffsetDateTime) -> Noted {
        let mut errors = self.lock();
        match (failure, errors.get_mut(&project)) {
            (None, None) => Noted::Same,
            (None, Some(_)) => {
                errors.remove(&project);
                Noted::Recovers
            }
            (Some(cause), None) => {
                errors.insert(project, SyncError { cause, since: now });
                Noted::Fails
            }
            (Some(cause), Some(error)) if cause == error.cause => Noted::Same,
            (Some(cause), Some(error)) => {
                error.cause = cause;
                Noted::FailsOtherwise
            }
        }
    }

    /// Forgets projects that are not live. Returns those that had an error.
    pub(super) fn retain(&self, live: &[ProjectId]) -> Vec<ProjectId> {
        let mut errors = self.lock();
        if errors.is_empty() {
            return Vec::new();
        }
        let live: BTreeSet<_> = live.iter().collect();
        let over: Vec<_> = errors.keys().filter(|project| !live.contains(project)).copied().collect();
        errors.retain(|project, _| live.contains(project));
        over
    }

    /// The map. It is intact even if a thread panicked while it held the lock: each change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, SyncError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_failure_begins_once_and_ends_with_the_first_success_or_with_the_stream() {
        let (errors, begun) = (SyncErrors::default(), OffsetDateTime::UNIX_EPOCH);
        let [first, second] = [1, 2].map(|number| ProjectId(Uuid::from_u128(number)));
        let later = begun + Duration::from_secs(5);
        assert_eq!(errors.note(first, None, begun), Noted::Same);
        assert_eq!(errors.note(first, Some(Cause::Late), begun), Noted::Fails);
        assert_eq!(errors.note(first, Some(Cause::Late), later), Noted::Same);
        assert_eq!(errors.note(first, Some(Cause::Unreadable), later), Noted::FailsOtherwise);
        assert_eq!(errors.of(first), Some(SyncError { cause: Cause::Unreadable, since: begun }));
        assert_eq!(errors.note(second, Some(Cause::Late), later), Noted::Fails);
        assert_eq!(errors.note(first, None, later), Noted::Recovers);
        assert_eq!((errors.of(first), errors.retain(&[second])), (None, vec![]));
        assert_eq!((errors.retain(&[first]), errors.of(second)), (vec![second], None));
    }
}
