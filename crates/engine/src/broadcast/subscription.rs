//! A subscription: one reader's cursor over a broadcast.

use std::sync::{Arc, atomic::Ordering};

use gostream_proto::time::Timestamp;
use tokio::sync::watch;

use super::{
    Broadcast,
    ring::{Entry, Headers, Start, Why},
};

/// Reads a broadcast at its own pace, from a keyframe on, never from inside a GOP.
#[derive(Debug)]
pub struct Subscription {
    broadcast: Arc<Broadcast>,
    head: watch::Receiver<u64>,
    delivery: Delivery,
    /// The number of the packet wanted next; `None` until a start is there.
    next: Option<u64>,
    /// The first packet that it would have started at, as long as it waits for a start.
    waits_from: Option<u64>,
    /// See [`Entry::video_frames_before`]: the first frame not read yet.
    video_frames_read: u64,
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
        if delivery == Delivery::Immediate {
            broadcast.immediate_readers.fetch_add(1, Ordering::Relaxed);
        }
        let head = broadcast.head.subscribe();
        let broadcast = Arc::clone(broadcast);
        Self { broadcast, head, delivery, next: None, waits_from: None, video_frames_read: 0 }
    }

    /// The broadcast it reads.
    pub fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }

    /// Waits until there may be something new to read.
    pub async fn changed(&mut self) {
        if self.head.changed().await.is_err() {
            // The sender lives in the broadcast that this subscription holds.
            std::future::pending::<()>().await;
        }
    }

    /// Whether there may be something new to read. Costs less than looking.
    pub fn has_changed(&self) -> bool {
        self.next.is_none() || self.head.has_changed().unwrap_or(false)
    }

    /// Reads packets of up to about `bytes_max` in all (at least one, if there is any) into `batch`, which is cleared first.
    pub fn read(&mut self, batch: &mut Batch, bytes_max: usize) {
        batch.entries.clear();
        batch.begin = None;
        batch.skipped_frames = 0;
        batch.bytes = 0;
        self.head.mark_unchanged();
        let mut ring = self.broadcast.ring();
        let mut next = match self.next {
            Some(next) if !ring.is_gone(next) => next,
            reading => {
                let Some(Start { sequence, headers, video_frames_before, earliest, why }) =
                    ring.start(&mut self.waits_from)
                else {
                    return;
                };
                self.waits_from = None;
                if reading.is_some() {
                    batch.skipped_frames = video_frames_before.saturating_sub(self.video_frames_read);
                }
                batch.begin = Some(Begin { headers, earliest, why });
                sequence
            }
        };
        while let Some(entry) = ring.get(next).filter(|_| batch.bytes < bytes_max) {
            batch.bytes += entry.packet.held_bytes();
            batch.entries.push(Arc::clone(entry));
            next += 1;
        }
        self.video_frames_read = ring.get(next).map_or(ring.video_frames(), |entry| entry.video_frames_before);
        self.next = Some(next);
        drop(ring);
        if let Some(begin) = &batch.begin {
            self.broadcast.notices().add_start(begin.why);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.delivery == Delivery::Immediate {
            self.broadcast.immediate_readers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
