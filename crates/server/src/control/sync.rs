//! Whether a project's changes are carried out, by project. Kept in memory by the server that runs its stream.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use gostream_engine::spec::ProjectId;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Why changes of a project are not carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SyncErrorCode)]
pub(crate) enum Cause {
    /// The database did not give its rows in time.
    #[serde(rename = "database_slow")]
    Late,
    /// Its rows cannot be read.
    #[serde(rename = "rows_unreadable")]
    Unreadable,
}

/// Changes of a project are not carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncError {
    /// Why the newest attempt failed.
    pub(crate) cause: Cause,
    /// When the first of the failed attempts ended.
    pub(crate) since: OffsetDateTime,
}

/// The live projects whose last attempt failed.
#[derive(Debug, Default)]
pub(crate) struct SyncErrors(Mutex<HashMap<ProjectId, SyncError>>);

/// What an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// As it was before.
    Same,
    /// It begins to fail.
    Fails,
    /// It fails for another reason than before.
    FailsOtherwise,
    /// It no longer fails.
    Recovers,
}

impl Cause {
    /// What happened and what to do.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Late => {
                "The database takes too long to answer for this project. The stream goes on as it is, and the server tries again \
                 every few seconds. If it stays like this, ask the operator to look at the database."
            }
            Self::Unreadable => {
                "What is saved for this project cannot be read. The stream goes on as it is, and the server tries again every few \
                 seconds. If it stays like this, ask the operator: the server's log has the reason."
            }
        }
    }
}

impl SyncErrors {
    /// The error of a project; `None` when all is carried out, or the stream does not run here.
    pub(crate) fn of(&self, project: ProjectId) -> Option<SyncError> {
        self.lock().get(&project).copied()
    }

    /// Keeps how an attempt ended.
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

    /// Forgets projects that are not live; gives those that it forgot.
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

    /// A poisoned lock still guards a whole map: each change of it is one call.
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
