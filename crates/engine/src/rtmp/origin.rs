//! The clock of a destination: the media time that is 0 on its connections, and its delay.
//!
//! All connections to a destination share it. When the delay changes while a connection sends, the reader switches to a
//! keyframe that is due at the new delay, and the clock shifts by the difference. So viewers see neither a pause nor
//! times that go back; they see a part of the stream twice, or miss a part.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use gostream_proto::time::Timestamp;

use crate::broadcast::{Broadcast, subscription::Switch};

/// The clock of a destination. It starts with the first packet of the first connection and runs while any connection is
/// open; later connections join it, because platforms compare the times of primary and backup. After the last
/// connection closed, the next one starts at 0 again.
#[derive(Clone, Debug, Default)]
pub struct Origin(Arc<Mutex<Clock>>);

/// Held by each open connection; the clock runs while one exists.
#[derive(Debug)]
pub struct Running(());

#[derive(Debug, Default)]
struct Clock {
    running: Weak<Running>,
    /// The media time that is 0 on the connections.
    base: Timestamp,
    change: DelayChange,
    /// The delay that the owner set, in ms.
    wanted_ms: i64,
    /// When the owner set it, in ms since the broadcast began; `None` once it applies.
    since_ms: Option<i64>,
}

/// A change of the delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DelayChange {
    /// Counts the changes.
    pub(super) number: u64,
    /// The new delay in ms.
    pub(super) delay_ms: i64,
    /// How running readers switch. Readers that have sent nothing yet start anywhere.
    pub(super) switch: Option<Switch>,
}

/// The current state of the clock. While one leg holds this, no other leg can change the delay: so all legs read the
/// same packets before a change.
#[derive(Debug)]
pub(super) struct Current<'a> {
    pub(super) change: DelayChange,
    /// The media time that is 0 after the change.
    pub(super) base: Timestamp,
    _clock: MutexGuard<'a, Clock>,
}

impl Origin {
    /// Sets the delay that the owner wants, in ms. Running connections change to it as soon as they can.
    pub(crate) fn want(&self, delay_ms: i64, broadcast: &Broadcast) {
        let mut clock = self.clock();
        if clock.wanted_ms != delay_ms {
            clock.wanted_ms = delay_ms;
            clock.since_ms = (delay_ms != clock.change.delay_ms).then(|| broadcast.age_ms());
        }
        clock.settle();
    }

    /// The current delay of the destination in ms.
    pub(crate) fn delay_ms(&self) -> i64 {
        let mut clock = self.clock();
        clock.settle();
        clock.change.delay_ms
    }

    /// The longest delay, in ms, for which packets must be kept for the destination.
    pub(crate) fn kept_ms(&self) -> i64 {
        let clock = self.clock();
        clock.wanted_ms.max(clock.change.delay_ms)
    }

    /// Whether a change waits for its keyframe.
    pub(super) fn is_change_pending(&self) -> bool {
        self.clock().since_ms.is_some()
    }

    /// The newest change; makes the pending change if its keyframe is due. `changed` is one past the newest codec
    /// header that replaced another: a connection never goes back before it.
    pub(super) fn current(&self, broadcast: &Broadcast, changed: impl FnOnce() -> u64) -> Current<'_> {
        let mut clock = self.clock();
        clock.settle();
        if let Some(since_ms) = clock.since_ms {
            clock.try_to_change(since_ms, broadcast, changed());
        }
        Current { change: clock.change, base: clock.base, _clock: clock }
    }

    /// Shortens the delay of a change, because there was no room to keep more packets.
    pub(super) fn shorten(&self, change: DelayChange, broadcast: &Broadcast) {
        let mut clock = self.clock();
        if clock.change.number == change.number && change.delay_ms < clock.change.delay_ms {
            clock.change.delay_ms = change.delay_ms;
            broadcast.notices().add_shortened_delay(clock.wanted_ms, change.delay_ms);
        }
    }

    /// The running clock and its base. Starts a clock at `first` if none runs.
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
    /// Without an open connection, a new delay applies at once.
    fn settle(&mut self) {
        if self.running.strong_count() == 0 && self.wanted_ms != self.change.delay_ms {
            self.change = DelayChange { number: self.change.number + 1, delay_ms: self.wanted_ms, switch: None };
            self.since_ms = None;
        }
    }

    fn try_to_change(&mut self, since_ms: i64, broadcast: &Broadcast, changed: u64) {
        let (before_ms, wanted_ms, now_ms) = (self.change.delay_ms, self.wanted_ms, broadcast.age_ms());
        let ring = broadcast.ring();
        let change = ring.switch_point(since_ms - wanted_ms, now_ms - wanted_ms, changed);
        let Some((at, arrived_ms)) = change.and_then(|at| Some((at, ring.get(at)?.arrived_ms))) else { return };
        // Less than the wanted delay if the packet has to be read early for lack of room.
        let delay_ms = wanted_ms.min(now_ms - arrived_ms);
        self.since_ms = None;
        let (longer_ms, due_ms) = (delay_ms - before_ms, arrived_ms + delay_ms - before_ms);
        // Connections may have read to different positions; all send everything that was due before the change.
        let switch = Switch { until: ring.arrived_until(due_ms - 1), resume_at: at };
        let shift_ms = ring.overlap_ms(due_ms, at).map_or(longer_ms, |overlap_ms| longer_ms.max(overlap_ms));
        drop(ring);
        if delay_ms < wanted_ms {
            broadcast.notices().add_shortened_delay(wanted_ms, delay_ms.max(before_ms));
            if delay_ms <= before_ms {
                return;
            }
        }
        self.base = self.base - shift_ms;
        self.change = DelayChange { number: self.change.number + 1, delay_ms, switch: Some(switch) };
    }
}

#[cfg(test)]
mod tests;
