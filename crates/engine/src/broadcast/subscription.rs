//! A subscription: one reader's cursor over a broadcast.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gostream_proto::time::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Broadcast,
    ring::{Entry, Headers, Moment, Ring, Start, Why},
};
use crate::ticks::{TICK, next_wake};

/// A reader with a delay looks again after this time even where nothing is due before: packets may become due for want of room.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reads a broadcast at its own pace, from a keyframe on, never from inside a GOP.
#[derive(Debug)]
pub struct Subscription {
    broadcast: Arc<Broadcast>,
    head: watch::Receiver<u64>,
    delivery: Delivery,
    /// What it sees, where that is not the newest.
    delayed: Option<Delayed>,
    /// A change of its delay leads there.
    turn: Option<Path>,
    /// The number of the packet wanted next; `None` until a start is there.
    next: Option<u64>,
    /// The first packet that it would have started at, as long as it waits for a start.
    waits_from: Option<u64>,
    /// See [`Entry::video_frames_before`]: the first frame not read yet.
    video_frames_read: u64,
}

/// From one delay to another. All readers that go it hand out the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Up to this number packets are read at the delay that was.
    pub(crate) leave: u64,
    /// There reading goes on.
    pub(crate) at: u64,
}

/// A reader that gets the stream later.
#[derive(Debug)]
struct Delayed {
    delay_ms: i64,
    moment: Moment,
}

/// How soon a reader wants packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as can be afforded: it sends them on.
    Immediate,
    /// Within some tens of milliseconds: it collects them itself.
    Batched,
}

/// What a reader gets at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Set when the reader starts, or starts again: what to know first.
    pub begin: Option<Begin>,
    /// Video frames that were skipped before this batch because the reader was too slow.
    pub skipped_frames: u64,
    /// The packets, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Memory that they take.
    pub bytes: usize,
}

/// Where a reader starts.
#[derive(Clone, Debug)]
pub struct Begin {
    /// What to send first.
    pub headers: Headers,
    /// The earliest time of what follows.
    pub earliest: Timestamp,
    /// Why there.
    pub why: Why,
}

impl Subscription {
    /// A new reader, which joins at the newest keyframe.
    pub fn new(broadcast: &Arc<Broadcast>, delivery: Delivery) -> Self {
        let head = broadcast.head.subscribe();
        let subscription = Self {
            broadcast: Arc::clone(broadcast),
            head,
            delivery,
            delayed: None,
            turn: None,
            next: None,
            waits_from: None,
            video_frames_read: 0,
        };
        subscription.count_if_immediate(true);
        subscription
    }

    /// The broadcast it reads.
    pub fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }

    /// How much later it gets the stream, in ms. Less than it was set to when there was no room to keep that much.
    pub(crate) fn delay_ms(&self) -> i64 {
        self.delayed.as_ref().map_or(0, |delayed| delayed.delay_ms)
    }

    /// The delay from the next packet on.
    pub(crate) fn set_delay(&mut self, delay_ms: i64) {
        if delay_ms == self.delay_ms() {
            return;
        }
        self.count_if_immediate(false);
        self.delayed = (delay_ms > 0).then(|| {
            let moment = self.delayed.take().map(|delayed| delayed.moment).unwrap_or_default();
            Delayed { delay_ms, moment }
        });
        self.count_if_immediate(true);
    }

    /// Goes on with another delay: along the path, or starts again.
    pub(crate) fn turn_to(&mut self, delay_ms: i64, path: Option<Path>) {
        // What is older than the moment that it knows is not due at another delay, or is no more.
        self.set_delay(0);
        self.set_delay(delay_ms);
        self.turn = path;
        if path.is_none() {
            self.next = None;
            self.waits_from = None;
        }
    }

    /// Whether it has not come to the end of the path yet.
    pub(crate) fn is_turning(&self) -> bool {
        self.turn.is_some()
    }

    /// The number after the newest codec header that replaced another, as far as it reads.
    pub(crate) fn changed_header(&self) -> u64 {
        self.delayed
            .as_ref()
            .map_or_else(|| self.broadcast.ring().changed(), |delayed| delayed.moment.changed())
    }

    /// Waits until there may be something new to read.
    pub async fn changed(&mut self) {
        if let Some(due) = self.due(Instant::now()) {
            sleep_until(due).await;
        } else if self.head.changed().await.is_err() {
            // The sender lives in the broadcast that this subscription holds.
            std::future::pending::<()>().await;
        }
    }

    /// When a reader with a delay has to look.
    fn due(&self, now: Instant) -> Option<Instant> {
        let Delayed { delay_ms, moment } = self.delayed.as_ref()?;
        let again = now + LOOK_AGAIN.min(Duration::from_millis(delay_ms.unsigned_abs()));
        let next_ms = self.broadcast.ring().get(moment.packets().end).map(|entry| entry.arrived_ms + delay_ms);
        let due = next_ms.map_or(again, |ms| self.broadcast.moment_at(ms).clamp(now, again));
        Some(next_wake(due, TICK))
    }

    /// Whether there may be something new to read. Costs less than looking.
    pub fn has_changed(&self) -> bool {
        self.next.is_none() || self.delayed.is_some() || self.head.has_changed().unwrap_or(false)
    }

    /// Whether a reader that comes now can start at once.
    pub(crate) fn can_start(&mut self) -> bool {
        let now_ms = self.broadcast.age_ms();
        let mut ring = self.broadcast.ring();
        match &mut self.delayed {
            Some(Delayed { delay_ms, moment }) => {
                ring.follow(moment, now_ms - *delay_ms);
                ring.start_at(moment, &mut None).is_some()
            }
            None => ring.start(&mut None).is_some(),
        }
    }

    /// Reads packets of up to about `bytes_max` in all (at least one, if there is any) into `batch`, which is cleared first.
    pub fn read(&mut self, batch: &mut Batch, bytes_max: usize) {
        batch.entries.clear();
        batch.begin = None;
        batch.skipped_frames = 0;
        batch.bytes = 0;
        self.head.mark_unchanged();
        let broadcast = Arc::clone(&self.broadcast);
        let mut ring = broadcast.ring();
        let packets = match &mut self.delayed {
            Some(Delayed { delay_ms, moment }) => {
                let now_ms = self.broadcast.age_ms();
                if let Some(arrived_ms) = ring.follow(moment, now_ms - *delay_ms) {
                    *delay_ms = (now_ms - arrived_ms).clamp(1, *delay_ms);
                }
                moment.packets()
            }
            None => ring.newest(),
        };
        if let Some(next) = self.before_turn().filter(|&next| ring.get(next).is_some()) {
            let leave = self.turn.map_or(next, |path| path.leave);
            self.take(&ring, next..leave, batch, bytes_max);
            return;
        }
        let turned = self.turn.take().and_then(|path| ring.start_with(path.at));
        let is_turn = turned.is_some();
        let next = match self.next {
            Some(next) if !is_turn && next >= packets.start => next,
            reading => {
                let start = turned.or_else(|| match &mut self.delayed {
                    Some(Delayed { moment, .. }) => ring.start_at(moment, &mut self.waits_from),
                    None => ring.start(&mut self.waits_from),
                });
                let Some(Start { sequence, headers, video_frames_before, earliest, why }) = start else { return };
                self.waits_from = None;
                if reading.is_some() && !is_turn {
                    batch.skipped_frames = video_frames_before.saturating_sub(self.video_frames_read);
                }
                batch.begin = Some(Begin { headers, earliest, why });
                sequence
            }
        };
        self.take(&ring, next..packets.end, batch, bytes_max);
        drop(ring);
        if let Some(begin) = &batch.begin {
            self.broadcast.notices().add_start(begin.why);
        }
    }

    /// The packet that is read next at the delay that was.
    fn before_turn(&self) -> Option<u64> {
        let path = self.turn?;
        self.next.filter(|&next| next < path.leave)
    }

    /// Takes those packets, as far as they are there and fit.
    fn take(&mut self, ring: &Ring, packets: Range<u64>, batch: &mut Batch, bytes_max: usize) {
        let mut next = packets.start;
        while next < packets.end && batch.bytes < bytes_max {
            let Some(entry) = ring.get(next) else { break };
            batch.bytes += entry.packet.held_bytes();
            batch.entries.push(Arc::clone(entry));
            next += 1;
        }
        self.video_frames_read = ring.get(next).map_or(ring.video_frames(), |entry| entry.video_frames_before);
        self.next = Some(next);
    }

    /// Readers with a delay wake by themselves, however soon they want packets.
    fn count_if_immediate(&self, counts: bool) {
        if self.delivery == Delivery::Immediate && self.delayed.is_none() {
            let readers = &self.broadcast.immediate_readers;
            if counts {
                readers.fetch_add(1, Ordering::Relaxed)
            } else {
                readers.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.count_if_immediate(false);
    }
}
