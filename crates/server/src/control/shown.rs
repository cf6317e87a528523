//! Who has seen which stream keys, so that the audit log names each pair once.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::login::proof::Proof;

/// Beyond so many pairs everything is forgotten, and written down once more: some megabytes.
const SHOWN_MAX: usize = 100_000;

/// Which login, or token, has been shown the stream keys of which projects. Every answer about a project holds its key, and a
/// line for each would bury the rest; the first time tells who had it.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<HashSet<(Uuid, Uuid)>>);

impl Shown {
    /// Whether this login sees the key of this project for the first time.
    pub(crate) fn is_new(&self, login: Proof, project: Uuid) -> bool {
        !self.lock().contains(&(login.id(), project))
    }

    /// It is written down that this login saw the key of this project.
    pub(crate) fn noted(&self, login: Proof, project: Uuid) {
        let mut shown = self.lock();
        if shown.len() >= SHOWN_MAX {
            shown.clear();
        }
        shown.insert((login.id(), project));
    }

    /// The project has a new key, which nobody has seen.
    pub(crate) fn renewed(&self, project: Uuid) {
        self.lock().retain(|&(_, known)| known != project);
    }

    /// The project has a new key, which only this login has seen: making it is written down as such.
    pub(crate) fn made_by(&self, login: Proof, project: Uuid) {
        self.renewed(project);
        self.noted(login, project);
    }

    /// A poisoned lock still guards a whole set.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Uuid, Uuid)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_saw_which_key_is_remembered_within_bounds() {
        let shown = Shown::default();
        let (login, kept) = (Proof::Session(Uuid::new_v4()), Uuid::new_v4());
        shown.made_by(login, kept);
        assert!(!shown.is_new(login, kept));
        assert!(shown.is_new(Proof::Token(Uuid::new_v4()), kept), "another login");
        for _ in 1..SHOWN_MAX {
            shown.noted(login, Uuid::new_v4());
        }
        assert!(!shown.is_new(login, kept));
        // Projects that are made and deleted leave pairs, which count as well.
        shown.made_by(login, Uuid::new_v4());
        assert_eq!(shown.lock().len(), 1);
    }
}
