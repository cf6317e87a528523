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
pub(crate) enum Departed {
    /// None: this publisher was not played.
    NotPlayed,
    /// The played publisher left, and another one can take over.
    NextTakesOver,
    /// The last publisher left.
    NoneLeft,
}

/// The publishers of each project that pulls its stream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamPublishers(Mutex<HashMap<Uuid, Seen>>);

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

impl UpstreamPublishers {
    /// Records that a publisher was admitted.
    pub(crate) fn published(&self, project: Uuid, publisher: Publisher, play: Play, now: Instant) {
        let Play { is_live, plays } = play;
        let mut upstream = self.lock();
        let seen = upstream.entry(project).or_insert_with(|| Seen { publishers: VecDeque::new(), at: now, plays });
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
    pub(crate) fn left(&self, project: Uuid, publisher: &Publisher) -> Departed {
        let mut upstream = self.lock();
        let Some(seen) = upstream.get_mut(&project) else { return Departed::NotPlayed };
        let Some(place) = seen.publishers.iter().position(|other| other == publisher) else {
            return Departed::NotPlayed;
        };
        seen.publishers.remove(place);
        match (place, seen.publishers.is_empty()) {
            (0, true) => {
                upstream.remove(&project);
                Departed::NoneLeft
            }
            (0, false) => Departed::NextTakesOver,
            _ => Departed::NotPlayed,
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
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        assert_eq!(upstream.left(project, &client(1)), Departed::NotPlayed, "nobody is known");
        upstream.published(project, client(17), NOTHING, now);
        for refused in 18..60 {
            upstream.published(project, client(refused), SOMETHING, now);
            assert_eq!(upstream.left(project, &client(refused)), Departed::NotPlayed);
        }
        let elsewhere = Publisher::Known("192.0.2.9".to_owned(), "17".to_owned());
        assert_eq!(upstream.left(project, &elsewhere), Departed::NotPlayed);
        assert_eq!(upstream.left(Uuid::max(), &client(17)), Departed::NotPlayed);
        assert_eq!(upstream.left(project, &client(17)), Departed::NoneLeft);
        assert_eq!(upstream.left(project, &client(17)), Departed::NotPlayed, "reported twice");
    }

    #[test]
    fn the_next_publisher_takes_over_from_the_first() {
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        upstream.published(project, client(1), NOTHING, now);
        upstream.published(project, client(2), SOMETHING, now);
        assert_eq!(upstream.left(project, &client(1)), Departed::NextTakesOver);
        assert_eq!(upstream.left(project, &client(2)), Departed::NoneLeft);
    }

    #[test]
    fn a_publisher_whose_end_was_never_reported_is_forgotten() {
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        upstream.published(project, client(17), NOTHING, now);
        upstream.published(project, client(3), NOTHING, now + STALE);
        assert_eq!(upstream.left(project, &client(17)), Departed::NotPlayed);
        assert_eq!(upstream.left(project, &client(3)), Departed::NoneLeft);
    }

    #[test]
    fn a_publisher_that_arrives_after_the_play_is_the_first() {
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        upstream.published(project, client(17), NOTHING, now);
        upstream.published(project, client(18), SOMETHING, now);
        upstream.published(project, client(3), Play { is_live: false, plays: 1 }, now);
        assert_eq!(upstream.left(project, &client(17)), Departed::NotPlayed, "reported late");
        assert_eq!(upstream.left(project, &client(3)), Departed::NoneLeft);
    }

    #[test]
    fn a_second_publisher_does_not_end_a_stream_from_before_the_start() {
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        upstream.published(project, client(2), SOMETHING, now);
        assert_eq!(upstream.left(project, &client(2)), Departed::NotPlayed);
        // Its end is not reported, but the next publisher is the first one.
        upstream.published(project, client(3), Play { is_live: false, ..SOMETHING }, now);
        assert_eq!(upstream.left(project, &client(3)), Departed::NoneLeft);
    }

    #[test]
    fn a_flood_of_publishers_uses_bounded_memory() {
        let (upstream, project, now) = (UpstreamPublishers::default(), Uuid::nil(), Instant::now());
        for number in 0..10_000 {
            upstream.published(project, client(number), SOMETHING, now);
        }
        assert_eq!(upstream.lock()[&project].publishers.len(), PUBLISHERS_MAX);
        upstream.retain(&HashSet::new());
        assert!(upstream.lock().is_empty());
    }
}
