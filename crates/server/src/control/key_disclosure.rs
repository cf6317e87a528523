//! Remembers which logins have seen which stream keys, so that the audit log names each pair once.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::login::proof::Proof;

/// The most pairs. At this number all are forgotten, and recorded again at the next disclosure. It takes some
/// megabytes.
const DISCLOSURES_MAX: usize = 100_000;

/// The stream keys that were disclosed, by session or token and project. Every response with a project contains its
/// key. A line for each would fill the audit log, so only the first disclosure is recorded.
#[derive(Debug, Default)]
pub(crate) struct KeyDisclosure(Mutex<HashSet<(Uuid, Uuid)>>);

impl KeyDisclosure {
    /// Whether this login has not seen the key of this project before.
    pub(crate) fn is_new(&self, login: Proof, project: Uuid) -> bool {
        !self.lock().contains(&(login.id(), project))
    }

    /// Remembers that this login has seen the key of this project, after that was recorded.
    pub(crate) fn record(&self, login: Proof, project: Uuid) {
        let mut disclosed = self.lock();
        if disclosed.len() >= DISCLOSURES_MAX {
            disclosed.clear();
        }
        disclosed.insert((login.id(), project));
    }

    /// Forgets who saw the key of this project, because it has a new one.
    pub(crate) fn forget(&self, project: Uuid) {
        self.lock().retain(|&(_, known)| known != project);
    }

    /// Remembers that only this login has seen the new key of this project. The audit log records the creation of the
    /// key instead.
    pub(crate) fn record_created(&self, login: Proof, project: Uuid) {
        self.forget(project);
        self.record(login, project);
    }

    /// The set. It is intact even if a thread panicked while it held the lock.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Uuid, Uuid)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disclosures_are_remembered_within_bounds() {
        let key_disclosure = KeyDisclosure::default();
        let (login, kept) = (Proof::Session(Uuid::new_v4()), Uuid::new_v4());
        key_disclosure.record_created(login, kept);
        assert!(!key_disclosure.is_new(login, kept));
        assert!(key_disclosure.is_new(Proof::Token(Uuid::new_v4()), kept), "another login");
        for _ in 1..DISCLOSURES_MAX {
            key_disclosure.record(login, Uuid::new_v4());
        }
        assert!(!key_disclosure.is_new(login, kept));
        // Deleted projects leave pairs, which count as well.
        key_disclosure.record_created(login, Uuid::new_v4());
        assert_eq!(key_disclosure.lock().len(), 1);
    }
}
