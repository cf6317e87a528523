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
    ring::{Entry, Headers, Moment, Ring, Start, StartReason},
};
use crate::ticks::{TICK, next_wake};

/// A reader with a delay checks at least this often: packets become due early when their memory is needed.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads a broadcast at the speed of its reader. Starts where the rules of the ring allow it.
#[derive(Debug)]
pub struct Subscription {
    broadcast: Arc<Broadcast>,
    head: watch::Receiver<u64>,
    delivery: Delivery,
    /// The reader's view of the past; `None` without a delay.
    delayed: Option<Delayed>,
    /// A running change of the delay.
    switch: Option<Switch>,
    /// Sequence number of the next packet to read; `None` until the reader can start.
    next: Option<u64>,
    /// While waiting for a start: the first packet that the reader could start at.
    waits_from: Option<u64>,
    /// Video frames before the next packet to read; see [`Entry::video_frames_before`].
    video_frames_read: u64,
}

/// A change from one delay to another. All readers with the same switch read the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    /// Packets before this sequence number are read at the old delay.
    pub(crate) until: u64,
    /// Reading continues here.
    pub(crate) resume_at: u64,
}

/// State of a reader with a delay.
#[derive(Debug)]
struct Delayed {
    delay_ms: i64,
    moment: Moment,
}

/// How soon a reader wants packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as the wake schedule allows: for readers that pass packets on.
    Immediate,
    /// Within some tens of milliseconds: for readers that collect packets anyway.
    Batched,
}

/// The result of one read.
#[derive(Debug, Default)]
pub struct Batch {
    /// Set when the reader starts, or starts again after a gap: where and with which headers.
    pub begin: Option<Begin>,
    /// Video frames skipped before this batch because the reader was too slow.
    pub skipped_frames: u64,
    /// The packets, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Their memory in bytes.
    pub bytes: usize,
}

/// A start of a reader.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The headers to send first.
    pub headers: Headers,
    /// The earliest time among the packets that follow.
    pub earliest: Timestamp,
    /// Why the reader starts there.
    pub reason: StartReason,
}

impl Subscription {
    /// A new reader. It starts at the newest keyframe.
    pub fn new(broadcast: &Arc<Broadcast>, delivery: Delivery) -> Self {
        let head = broadcast.head.subscribe();
        let subscription = Self {
            broadcast: Arc::clone(broadcast),
            head,
            delivery,
            delayed: None,
            switch: None,
            next: None,
            waits_from: None,
            video_frames_read: 0,
        };
        subscription.count_if_immediate(true);
        subscription
    }

    /// The broadcast that it reads.
    pub fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }

    /// The current delay in ms. Less than the delay that was set if there was no room to keep that much.
    pub(crate) fn delay_ms(&self) -> i64 {
        self.delayed.as_ref().map_or(0, |delayed| delayed.delay_ms)
    }

    /// Sets the delay from the next packet on.
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

    /// Continues with another delay: along `switch`, or with a new start.
    pub(crate) fn switch_to(&mut self, delay_ms: i64, switch: Option<Switch>) {
        // The old moment is useless: its packets are not due at the new delay, or are gone.
        self.set_delay(0);
        self.set_delay(delay_ms);
        self.switch = switch;
        if switch.is_none() {
            self.next = None;
            self.waits_from = None;
        }
    }

    /// Whether a change of the delay is not complete yet.
    pub(crate) fn is_switching(&self) -> bool {
        self.switch.is_some()
    }

    /// One past the sequence number of the newest codec header that replaced another, within what the reader sees.
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

    /// When a reader with a delay has to check again.
    fn due(&self, now: Instant) -> Option<Instant> {
        let Delayed { delay_ms, moment } = self.delayed.as_ref()?;
        let again = now + RECHECK_INTERVAL.min(Duration::from_millis(delay_ms.unsigned_abs()));
        let next_ms = self.broadcast.ring().get(moment.packets().end).map(|entry| entry.arrived_ms + delay_ms);
        let due = next_ms.map_or(again, |ms| self.broadcast.moment_at(ms).clamp(now, again));
        Some(next_wake(due, TICK))
    }

    /// Whether there may be something new to read. Cheaper than reading.
    pub fn has_changed(&self) -> bool {
        self.next.is_none() || self.delayed.is_some() || self.head.has_changed().unwrap_or(false)
    }

    /// Whether a reader that joined now could start immediately.
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

    /// Reads packets of up to about `bytes_max` bytes into `batch`, which is cleared first; at least one packet, if
    /// there is any.
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
        if let Some(next) = self.before_switch().filter(|&next| ring.get(next).is_some()) {
            let until = self.switch.map_or(next, |switch| switch.until);
            self.take(&ring, next..until, batch, bytes_max);
            return;
        }
        let switched = self.switch.take().and_then(|switch| ring.start_with(switch.resume_at));
        let is_switch = switched.is_some();
        let next = match self.next {
            Some(next) if !is_switch && next >= packets.start => next,
            reading => {
                let start = switched.or_else(|| match &mut self.delayed {
                    Some(Delayed { moment, .. }) => ring.start_at(moment, &mut self.waits_from),
                    None => ring.start(&mut self.waits_from),
                });
                let Some(Start { sequence, headers, video_frames_before, earliest, reason }) = start else { return };
                self.waits_from = None;
                if reading.is_some() && !is_switch {
                    batch.skipped_frames = video_frames_before.saturating_sub(self.video_frames_read);
                }
                batch.begin = Some(Begin { headers, earliest, reason });
                sequence
            }
        };
        self.take(&ring, next..packets.end, batch, bytes_max);
        drop(ring);
        if let Some(begin) = &batch.begin {
            self.broadcast.notices().add_start(begin.reason);
        }
    }

    /// The next packet to read at the old delay.
    fn before_switch(&self) -> Option<u64> {
        let switch = self.switch?;
        self.next.filter(|&next| next < switch.until)
    }

    /// Adds these packets to the batch, until one is missing or `bytes_max` is reached.
    fn take(&mut self, ring: &Ring, packets: Range<u64>, batch: &mut Batch, bytes_max: usize) {
        debug_assert!(self.next.is_none_or(|before| batch.begin.is_some() || before == packets.start));
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

    /// Readers with a delay have timers of their own, so they are never woken immediately.
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
