//! The publishers at upstream servers, as reported by their hooks, so that the end of one publisher is not taken for
//! the end of another.
//!
//! nginx-rtmp calls the hook for a second publisher of the same name, refuses it by itself, and then reports its end
//! under that name. Publishers are distinguished by their address and the connection number of the upstream server. The
//! first publisher that was announced is the one that is played.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// The most publishers remembered per project. Later ones are refused by the upstream server, and their end changes
/// nothing.
const PUBLISHERS_MAX: usize = 8;
/// If no stream is played this long after a publisher was admitted, the publisher has left without a report.
const STALE: Duration = Duration::from_secs(10);

/// A publisher's connection to an upstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// The address and the connection number, as the hook names them (`addr`, `clientid`).
    Known(String, String),
    /// The publisher was there before this server started.
    Unknown,
}

/// The effect of a publisher's departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// None: this publisher was not played.
    Another,
    /// The played publisher left, and another one can take over.
    Succeeded,
    /// The last publisher left.
    Last,
}

/// The publishers of each project that pulls its stream.
#[derive(Debug, Default)]
pub(crate) struct Fronts(Mutex<HashMap<Uuid, Seen>>);

#[derive(Debug)]
struct Seen {
    /// In the order of their arrival; the first one is played.
    publishers: VecDeque<Publisher>,
    /// When the newest publisher arrived.
    at: Instant,
    /// The number of plays before the first publisher arrived.
    plays: u64,
}

/// The play state of a project.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Play {
    /// Whether a stream is played now.
    pub(crate) is_live: bool,
    /// The number of plays so far, including the current one.
    pub(crate) plays: u64,
}

impl Fronts {
    /// Records that a publisher was admitted.
    pub(crate) fn published(&self, project: Uuid, publisher: Publisher, play: Play, now: Instant) {
        let Play { is_live, plays } = play;
        let mut fronts = self.lock();
        let seen = fronts.entry(project).or_insert_with(|| Seen { publishers: VecDeque::new(), at: now, plays });
        // The previous play is over without a report: the upstream server crashed, or reports it later.
        if !is_live && (plays != seen.plays || now.duration_since(seen.at) >= STALE) {
            seen.publishers.clear();
        }
        if seen.publishers.is_empty() {
            seen.plays = plays.saturating_sub(u64::from(is_live));
            seen.publishers.extend(is_live.then_some(Publisher::Unknown));
        }
        seen.at = now;
        seen.publishers.retain(|other| *other != publisher);
        if seen.publishers.len() < PUBLISHERS_MAX {
            seen.publishers.push_back(publisher);
        }
    }

    /// Records that a publisher left.
    pub(crate) fn left(&self, project: Uuid, publisher: &Publisher) -> Left {
        let mut fronts = self.lock();
        let Some(seen) = fronts.get_mut(&project) else { return Left::Another };
        let Some(place) = seen.publishers.iter().position(|other| other == publisher) else { return Left::Another };
        seen.publishers.remove(place);
        match (place, seen.publishers.is_empty()) {
            (0, true) => {
                fronts.remove(&project);
                Left::Last
            }
            (0, false) => Left::Succeeded,
            _ => Left::Another,
        }
    }

    /// Forgets projects that no longer pull.
    pub(crate) fn retain(&self, pulled: &HashSet<Uuid>) {
        self.lock().retain(|project, _| pulled.contains(project));
    }

    /// The map. It is intact even if a thread panicked while it held the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Play = Play { is_live: false, plays: 0 };
    const SOMETHING: Play = Play { is_live: true, plays: 1 };

    fn client(number: u32) -> Publisher {
        Publisher::Known("192.0.2.1".to_owned(), number.to_string())
    }

    #[test]
    fn only_the_end_of_the_first_publisher_ends_the_stream() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        assert_eq!(fronts.left(project, &client(1)), Left::Another, "nobody is known");
        fronts.published(project, client(17), NOTHING, now);
        for refused in 18..60 {
            fronts.published(project, client(refused), SOMETHING, now);
            assert_eq!(fronts.left(project, &client(refused)), Left::Another);
        }
        let elsewhere = Publisher::Known("192.0.2.9".to_owned(), "17".to_owned());
        assert_eq!(fronts.left(project, &elsewhere), Left::Another);
        assert_eq!(fronts.left(Uuid::max(), &client(17)), Left::Another);
        assert_eq!(fronts.left(project, &client(17)), Left::Last);
        assert_eq!(fronts.left(project, &client(17)), Left::Another, "reported twice");
    }

    #[test]
    fn the_next_publisher_takes_over_from_the_first() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(1), NOTHING, now);
        fronts.published(project, client(2), SOMETHING, now);
        assert_eq!(fronts.left(project, &client(1)), Left::Succeeded);
        assert_eq!(fronts.left(project, &client(2)), Left::Last);
    }

    #[test]
    fn a_publisher_whose_end_was_never_reported_is_forgotten() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(17), NOTHING, now);
        fronts.published(project, client(3), NOTHING, now + STALE);
        assert_eq!(fronts.left(project, &client(17)), Left::Another);
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn a_publisher_that_arrives_after_the_play_is_the_first() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(17), NOTHING, now);
        fronts.published(project, client(18), SOMETHING, now);
        fronts.published(project, client(3), Play { is_live: false, plays: 1 }, now);
        assert_eq!(fronts.left(project, &client(17)), Left::Another, "reported late");
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn a_second_publisher_does_not_end_a_stream_from_before_the_start() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(2), SOMETHING, now);
        assert_eq!(fronts.left(project, &client(2)), Left::Another);
        // Its end is not reported, but the next publisher is the first one.
        fronts.published(project, client(3), Play { is_live: false, ..SOMETHING }, now);
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn a_flood_of_publishers_uses_bounded_memory() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        for number in 0..10_000 {
            fronts.published(project, client(number), SOMETHING, now);
        }
        assert_eq!(fronts.lock()[&project].publishers.len(), PUBLISHERS_MAX);
        fronts.retain(&HashSet::new());
        assert!(fronts.lock().is_empty());
    }
}
