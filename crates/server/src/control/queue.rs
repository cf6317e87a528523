//! The order in which projects are reconciled. It has no task and no clock.

use std::collections::{HashSet, VecDeque};

use gostream_engine::spec::ProjectId;

/// The most projects that are reconciled at a time. Each uses one database connection at a time, and PostgreSQL has ten
/// in total. The connection of a query that was abandoned is free up to 5 s later.
const CONCURRENT_MAX: usize = 8;
/// The most of these that failed the last time, so that others find room however many fail.
const CONCURRENT_FAILING_MAX: usize = 2;

/// The queue. Each project is in it at most once, and is reconciled at most once at a time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    queued: VecDeque<ProjectId>,
    waiting: HashSet<ProjectId>,
    running: HashSet<ProjectId>,
    /// The running projects that had failed before.
    failing: HashSet<ProjectId>,
}

impl Queue {
    /// Queues a project whose rows changed. It comes before swept ones. A project that is being reconciled is queued
    /// again, because it may have been read before the change.
    pub(super) fn wake(&mut self, project: ProjectId) {
        if !self.waiting.insert(project) {
            self.queued.retain(|other| *other != project);
        }
        self.queued.push_front(project);
    }

    /// Queues a project for the periodic sweep.
    pub(super) fn sweep(&mut self, project: ProjectId) {
        if !self.running.contains(&project) && self.waiting.insert(project) {
            self.queued.push_back(project);
        }
    }

    /// The next project to reconcile now. [`Queue::finished`] must be called for it.
    pub(super) fn next(&mut self, fails: impl Fn(ProjectId) -> bool) -> Option<ProjectId> {
        if self.running.len() >= CONCURRENT_MAX {
            return None;
        }
        let is_full_of_failing = self.failing.len() >= CONCURRENT_FAILING_MAX;
        let may = |project: &ProjectId| !(self.running.contains(project) || is_full_of_failing && fails(*project));
        let project = self.queued.remove(self.queued.iter().position(may)?)?;
        self.waiting.remove(&project);
        self.running.insert(project);
        if fails(project) {
            self.failing.insert(project);
        }
        Some(project)
    }

    pub(super) fn finished(&mut self, project: ProjectId) {
        self.running.remove(&project);
        self.failing.remove(&project);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn project(number: u128) -> ProjectId {
        ProjectId(Uuid::from_u128(number))
    }

    #[test]
    fn a_project_that_changes_while_it_is_reconciled_is_reconciled_again_afterwards() {
        let (mut queue, healthy) = (Queue::default(), |_| false);
        queue.wake(project(1));
        queue.wake(project(1));
        assert_eq!(queue.next(healthy), Some(project(1)));
        assert_eq!(queue.next(healthy), None, "it is queued once");
        queue.sweep(project(1));
        assert_eq!(queue.next(healthy), None, "nothing changed");
        queue.wake(project(1));
        assert_eq!(queue.next(healthy), None, "never twice at a time");
        queue.finished(project(1));
        assert_eq!(queue.next(healthy), Some(project(1)));
        queue.finished(project(1));
        assert_eq!(queue.next(healthy), None);
    }

    #[test]
    fn a_changed_project_comes_before_swept_ones() {
        let (mut queue, healthy) = (Queue::default(), |_| false);
        (1..=20).for_each(|number| queue.sweep(project(number)));
        queue.wake(project(19));
        queue.wake(project(21));
        let order: Vec<_> = std::iter::from_fn(|| queue.next(healthy)).collect();
        assert_eq!(order[..3], [project(21), project(19), project(1)]);
        assert_eq!(order.len(), CONCURRENT_MAX);
        queue.finished(project(1));
        assert!(queue.next(healthy).is_some(), "there is room again");
        assert_eq!(queue.next(healthy), None);
    }

    #[test]
    fn failing_projects_leave_room_and_get_their_turn_in_order() {
        let (mut queue, fails) = (Queue::default(), |id: ProjectId| id.0.as_u128() <= 30);
        let mut tried = HashSet::new();
        for _ in 0..15 {
            (1..=30).for_each(|number| queue.sweep(project(number)));
            queue.wake(project(31));
            let taken: Vec<_> = std::iter::from_fn(|| queue.next(fails)).collect();
            assert_eq!(taken.len(), CONCURRENT_FAILING_MAX + 1, "{taken:?}");
            assert!(taken.contains(&project(31)));
            for project in taken {
                queue.finished(project);
                tried.insert(project);
            }
        }
        assert_eq!(tried.len(), 31, "each was tried");
    }
}
