//! Who publishes at the servers in front, as their hooks tell: so that the goodbye of one is not taken for that of another.
//!
//! nginx-rtmp asks about a second publisher as about the first, refuses it by itself, and then tells of its end under the
//! same name. Connections are told apart by their address and the number that the server gave them. The first that was asked
//! about is the one that is played.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// Of one project so many are remembered; further ones are refused in front, and what is told of their end changes nothing.
const PUBLISHERS_MAX: usize = 8;
/// When nothing is played although somebody was let in so long ago, nothing will be: that end was not told.
const STALE: Duration = Duration::from_secs(10);

/// A connection to a server in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// By its address and number, as the hook calls them (`addr`, `clientid`).
    Known(String, String),
    /// It was there before we were.
    Unknown,
}

/// What follows from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: it was not the one that is played.
    Another,
    /// The one that is played left, and another may take its place.
    Succeeded,
    /// The last one left.
    Last,
}

/// The publishers of each project that pulls.
#[derive(Debug, Default)]
pub(crate) struct Fronts(Mutex<HashMap<Uuid, Seen>>);

#[derive(Debug)]
struct Seen {
    /// In the order in which they came; the first is the one that is played.
    publishers: VecDeque<Publisher>,
    /// When the newest came.
    at: Instant,
    /// How often something had been played before the first of them.
    plays: u64,
}

/// What is played at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Play {
    /// Something is.
    pub(crate) is_live: bool,
    /// How often something was, this time included.
    pub(crate) plays: u64,
}

impl Fronts {
    /// A publisher was let in.
    pub(crate) fn published(&self, project: Uuid, publisher: Publisher, play: Play, now: Instant) {
        let Play { is_live, plays } = play;
        let mut fronts = self.lock();
        let seen = fronts.entry(project).or_insert_with(|| Seen { publishers: VecDeque::new(), at: now, plays });
        // What was played is over, and its end not told: the server in front crashed, or tells it later.
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

    /// A publisher is told to have left.
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

    /// Forgets projects that do not pull any more.
    pub(crate) fn retain(&self, pulled: &HashSet<Uuid>) {
        self.lock().retain(|project, _| pulled.contains(project));
    }

    /// A poisoned lock still guards a whole map.
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
    fn only_the_first_ends_the_stream() {
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
        assert_eq!(fronts.left(project, &client(17)), Left::Another, "told twice");
    }

    #[test]
    fn the_next_takes_the_place_of_the_first() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(1), NOTHING, now);
        fronts.published(project, client(2), SOMETHING, now);
        assert_eq!(fronts.left(project, &client(1)), Left::Succeeded);
        assert_eq!(fronts.left(project, &client(2)), Left::Last);
    }

    #[test]
    fn an_end_that_was_never_told_is_forgotten() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(17), NOTHING, now);
        fronts.published(project, client(3), NOTHING, now + STALE);
        assert_eq!(fronts.left(project, &client(17)), Left::Another);
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn who_comes_when_the_play_is_over_is_the_first() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(17), NOTHING, now);
        fronts.published(project, client(18), SOMETHING, now);
        fronts.published(project, client(3), Play { is_live: false, plays: 1 }, now);
        assert_eq!(fronts.left(project, &client(17)), Left::Another, "told late");
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn a_stream_that_was_there_before_us_is_not_ended_by_a_second_publisher() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        fronts.published(project, client(2), SOMETHING, now);
        assert_eq!(fronts.left(project, &client(2)), Left::Another);
        // Its own end tells nothing, but the next one is the first.
        fronts.published(project, client(3), Play { is_live: false, ..SOMETHING }, now);
        assert_eq!(fronts.left(project, &client(3)), Left::Last);
    }

    #[test]
    fn a_flood_of_publishers_costs_little() {
        let (fronts, project, now) = (Fronts::default(), Uuid::nil(), Instant::now());
        for number in 0..10_000 {
            fronts.published(project, client(number), SOMETHING, now);
        }
        assert_eq!(fronts.lock()[&project].publishers.len(), PUBLISHERS_MAX);
        fronts.retain(&HashSet::new());
        assert!(fronts.lock().is_empty());
    }
}
