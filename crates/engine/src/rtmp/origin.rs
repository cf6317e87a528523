//! The clock of a destination: where its times begin, and how much later it gets the stream.
//!
//! All connections to a destination share it. A change of the delay while one of them sends is a turn: the reader goes on at a
//! keyframe that is due under the new delay, and the clock is shifted by the difference, so that viewers see neither a pause
//! nor times that go back. They see a part of the stream again, or miss one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use gostream_proto::time::Timestamp;

use crate::broadcast::{Broadcast, subscription::Path};

/// Where the clock of a destination begins: at the packet that its first connection begins with. It runs as long as one of
/// its connections does, and whichever comes meanwhile joins in the middle: platforms compare the times of primary and
/// backup. After the last of them the next one begins again at 0.
#[derive(Clone, Debug, Default)]
pub struct Origin(Arc<Mutex<Clock>>);

/// Held by each connection on the clock.
#[derive(Debug)]
pub struct Running(());

#[derive(Debug, Default)]
struct Clock {
    running: Weak<Running>,
    /// The media time that is 0 on the wire.
    base: Timestamp,
    turn: Turn,
    /// The delay that the owner wants, in ms.
    wanted_ms: i64,
    /// Since when the owner wants it, in ms since the broadcast began; `None` once it is so.
    since_ms: Option<i64>,
}

/// A change of the delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Counts up.
    pub(super) number: u64,
    /// The delay since then, in ms.
    pub(super) delay_ms: i64,
    /// How readers go on; those that send nothing yet start anywhere.
    pub(super) path: Option<Path>,
}

/// The clock as it is now. While one leg holds this, no other turns: what it reads meanwhile is what all of them read before the turn.
#[derive(Debug)]
pub(super) struct Current<'a> {
    pub(super) turn: Turn,
    /// The media time that is 0 on the wire since then.
    pub(super) base: Timestamp,
    _clock: MutexGuard<'a, Clock>,
}

impl Origin {
    /// The owner wants this delay. What is sent already turns as soon as it can.
    pub(crate) fn want(&self, delay_ms: i64, broadcast: &Broadcast) {
        let mut clock = self.clock();
        if clock.wanted_ms != delay_ms {
            clock.wanted_ms = delay_ms;
            clock.since_ms = (delay_ms != clock.turn.delay_ms).then(|| broadcast.age_ms());
        }
        clock.settle();
    }

    /// How much later the destination gets the stream, in ms.
    pub(crate) fn delay_ms(&self) -> i64 {
        let mut clock = self.clock();
        clock.settle();
        clock.turn.delay_ms
    }

    /// How long packets have to be kept for the destination, in ms.
    pub(crate) fn kept_ms(&self) -> i64 {
        let clock = self.clock();
        clock.wanted_ms.max(clock.turn.delay_ms)
    }

    /// Whether a change waits for its keyframe.
    pub(super) fn is_turning(&self) -> bool {
        self.clock().since_ms.is_some()
    }

    /// The newest turn, and a new one if it is time for it. `changed` is the number after the newest codec header that
    /// replaced another: the connection does not go back before it.
    pub(super) fn current(&self, broadcast: &Broadcast, changed: impl FnOnce() -> u64) -> Current<'_> {
        let mut clock = self.clock();
        clock.settle();
        if let Some(since_ms) = clock.since_ms {
            clock.try_to_turn(since_ms, broadcast, changed());
        }
        Current { turn: clock.turn, base: clock.base, _clock: clock }
    }

    /// There is no room for the delay since that turn, and it is shorter by now.
    pub(super) fn shorten(&self, turn: Turn, broadcast: &Broadcast) {
        let mut clock = self.clock();
        if clock.turn.number == turn.number && turn.delay_ms < clock.turn.delay_ms {
            clock.turn.delay_ms = turn.delay_ms;
            broadcast.notices().add_shortened_delay(clock.wanted_ms, turn.delay_ms);
        }
    }

    /// The beginning of the clock that runs, or of another one at `first`.
    pub(super) fn running_or(&self, first: Timestamp) -> (Arc<Running>, Timestamp) {
        let mut clock = self.clock();
        let running = clock.running.upgrade().unwrap_or_else(|| {
            let begun = Arc::new(Running(()));
            clock.running = Arc::downgrade(&begun);
            clock.base = first;
            begun
        });
        (running, clock.base)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// Where nothing is sent yet, nothing is in the way of the delay that is wanted.
    fn settle(&mut self) {
        if self.running.strong_count() == 0 && self.wanted_ms != self.turn.delay_ms {
            self.turn = Turn { number: self.turn.number + 1, delay_ms: self.wanted_ms, path: None };
            self.since_ms = None;
        }
    }

    fn try_to_turn(&mut self, since_ms: i64, broadcast: &Broadcast, changed: u64) {
        let (before_ms, wanted_ms, now_ms) = (self.turn.delay_ms, self.wanted_ms, broadcast.age_ms());
        let ring = broadcast.ring();
        let turn = ring.turn(since_ms - wanted_ms, now_ms - wanted_ms, changed);
        let Some((at, arrived_ms)) = turn.and_then(|at| Some((at, ring.get(at)?.arrived_ms))) else { return };
        // Less than is wanted where it has to be read before there is no more room for it.
        let delay_ms = wanted_ms.min(now_ms - arrived_ms);
        self.since_ms = None;
        let (longer_ms, due_ms) = (delay_ms - before_ms, arrived_ms + delay_ms - before_ms);
        // One connection may have read just now, another a while ago: both hand out all that was due before.
        let path = Path { leave: ring.came_until(due_ms - 1), at };
        let shift_ms = ring.overlap_ms(due_ms, at).map_or(longer_ms, |overlap_ms| longer_ms.max(overlap_ms));
        drop(ring);
        if delay_ms < wanted_ms {
            broadcast.notices().add_shortened_delay(wanted_ms, delay_ms.max(before_ms));
            if delay_ms <= before_ms {
                return;
            }
        }
        self.base = self.base - shift_ms;
        self.turn = Turn { number: self.turn.number + 1, delay_ms, path: Some(path) };
    }
}

#[cfg(test)]
mod tests;
