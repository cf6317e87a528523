//! A feed: a subscription as RTMP media for one connection, on that connection's clock.
//!
//! The only change to a stream is one constant offset of its times: a connection starts at 0 with its first packet.
//! When the delay of a destination changes, so does the offset; see [`super::origin`].

use std::{sync::Arc, time::Duration};

use gostream_proto::{
    packet::PacketKind,
    rtmp::{client::DEFAULT_CHUNK_BYTES, media::MediaOut},
    time::{REORDER_MS, Timestamp},
};

use tokio::time::timeout;

use super::origin::{DelayChange, Origin, Running};
use crate::broadcast::{
    ring::{Entry, Headers},
    subscription::{Batch, Subscription, Switch},
};

/// A pending change of the delay is checked this often when no packets arrive.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The kind of receiver. Platforms get wrapped metadata and small chunks, players bare metadata and large chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A platform that we push to.
    Platform,
    /// A player that pulls from us.
    Player,
}

/// Reads a broadcast and produces RTMP media.
#[derive(Debug)]
pub struct Feed {
    subscription: Subscription,
    audience: Audience,
    batch: Batch,
    unread: bool,
    headers: Headers,
    /// The media time that is 0 on this connection.
    base: Option<(Arc<Running>, Timestamp)>,
    origin: Origin,
    /// The newest change of the delay that this feed follows.
    change: DelayChange,
    /// `base` after the running change of the delay.
    next_base: Option<Timestamp>,
    /// Time of the newest frame of each main track.
    last_video: Option<Timestamp>,
    last_audio: Option<Timestamp>,
    /// The earliest media time among the first packets.
    earliest: Option<Timestamp>,
    last_read_ms: Option<i64>,
    skipped_frames: u64,
}

/// Result of [`Feed::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Nothing new.
    Nothing,
    /// Media was sent.
    Media,
    /// A codec header changed, so a new connection is needed. The header was not sent.
    HeadersChanged,
}

impl Feed {
    /// A feed that starts at the newest keyframe.
    pub fn new(subscription: Subscription, audience: Audience, origin: Origin) -> Self {
        Self {
            subscription,
            audience,
            batch: Batch::default(),
            unread: true,
            headers: Headers::default(),
            base: None,
            origin,
            change: DelayChange::default(),
            next_base: None,
            last_video: None,
            last_audio: None,
            earliest: None,
            last_read_ms: None,
            skipped_frames: 0,
        }
    }

    /// Waits until there may be something new.
    pub async fn changed(&mut self) {
        if self.origin.is_change_pending() {
            let _ = timeout(RECHECK_INTERVAL, self.subscription.changed()).await;
        } else {
            self.subscription.changed().await;
        }
        // A wake counts as unread media.
        self.unread = true;
    }

    /// Video frames skipped because the connection was too slow.
    pub fn skipped_frames(&self) -> u64 {
        self.skipped_frames
    }

    /// Arrival of the newest packet that was sent, in ms since the broadcast began.
    pub fn last_read_ms(&self) -> Option<i64> {
        self.last_read_ms
    }

    /// Time in ms from the arrival of that packet to the arrival of the newest one that is due.
    pub fn lag_ms(&self) -> i64 {
        let due = self.subscription.broadcast().newest_due_ms(self.delay_ms());
        due.zip(self.last_read_ms).map_or(0, |(due, read)| (due - read).max(0))
    }

    /// The current delay of the destination in ms.
    pub fn delay_ms(&self) -> i64 {
        self.change.delay_ms
    }

    /// Passes about `bytes_max` bytes of media to `send`.
    pub fn fill(&mut self, bytes_max: usize, mut send: impl FnMut(&MediaOut<'_>)) -> Filled {
        let mut batch = std::mem::take(&mut self.batch);
        if !self.read(&mut batch, bytes_max) {
            self.batch = batch;
            return Filled::Nothing;
        }
        if self.subscription.delay_ms() < self.change.delay_ms {
            self.change.delay_ms = self.subscription.delay_ms();
            self.origin.shorten(self.change, self.subscription.broadcast());
        }
        let is_switching = self.subscription.is_switching();
        if let Some(base) = self.next_base.take_if(|_| !is_switching) {
            self.base = self.base.take().map(|(running, _)| (running, base));
        }
        // Media that did not fit is read without another wake.
        self.unread = batch.bytes >= bytes_max || is_switching;
        let filled = self.hand_out(&batch, &mut send);
        self.batch = batch;
        filled
    }

    /// Reads with the destination's current delay. Returns false when there is nothing new.
    fn read(&mut self, batch: &mut Batch, bytes_max: usize) -> bool {
        let Self { origin, subscription, .. } = self;
        let current = origin.current(subscription.broadcast(), || subscription.changed_header());
        let change = current.change;
        if change.number == self.change.number {
            subscription.set_delay(change.delay_ms);
        } else {
            // A feed that missed a change continues with the newest one at once.
            let missed = change.number > self.change.number + 1;
            let switch = change.switch.map(|switch| if missed { Switch { until: 0, ..switch } } else { switch });
            subscription.switch_to(change.delay_ms, switch.filter(|_| self.base.is_some()));
            self.next_base = Some(current.base);
            self.unread = true;
        }
        self.change = change;
        let may_read = self.unread || subscription.has_changed();
        if may_read {
            subscription.read(batch, bytes_max);
        }
        may_read
    }

    fn hand_out(&mut self, batch: &Batch, send: &mut impl FnMut(&MediaOut<'_>)) -> Filled {
        let Some(last) = batch.entries.last() else { return Filled::Nothing };
        self.skipped_frames += batch.skipped_frames;
        if let Some(begin) = &batch.begin {
            if begin.headers.iter().any(|header| self.changes(header)) {
                return Filled::HeadersChanged;
            }
            // After a skip the connection continues, so headers that did not change are not repeated.
            let starts = self.base.is_none();
            for header in begin.headers.iter() {
                if starts || self.is_new(header) {
                    self.send_entry(header, send);
                }
            }
            self.headers = begin.headers.clone();
            self.earliest.get_or_insert(begin.earliest);
        }
        for entry in &batch.entries {
            if entry.packet.kind.is_header() {
                if self.changes(entry) {
                    return Filled::HeadersChanged;
                }
                self.headers.replace(entry);
            }
            self.send_entry(entry, send);
        }
        self.last_read_ms = Some(last.arrived_ms);
        Filled::Media
    }

    /// Whether a codec header replaces a different one: the receiver's decoders were set up with the old one.
    fn changes(&self, header: &Arc<Entry>) -> bool {
        self.audience == Audience::Platform
            && matches!(header.packet.kind, PacketKind::VideoHeader | PacketKind::AudioHeader)
            && self.is_new(header)
            && self.headers.of_kind(header.packet.kind).is_some()
    }

    /// Whether the receiver does not have this header yet. Headers without an FLV body are for packagers only.
    fn is_new(&self, header: &Arc<Entry>) -> bool {
        let body = &header.packet.flv;
        !body.is_empty() && self.headers.iter().all(|known| known.packet.flv != *body)
    }

    fn send_entry(&mut self, entry: &Entry, send: &mut impl FnMut(&MediaOut<'_>)) {
        if entry.packet.flv.is_empty() {
            return;
        }
        let kind = entry.media_kind();
        let timestamp = self.time(entry).wire();
        let (payload, chunks) = match self.audience {
            Audience::Platform => entry.for_platform(),
            Audience::Player => entry.for_player(),
        };
        send(&MediaOut { kind, timestamp, payload: &payload, chunks });
    }

    /// The time on this connection. Starts at 0 and never goes back within a main track, except for pictures that the
    /// encoder sent in that order. Headers before the first frame, and audio frames slightly earlier than the first
    /// keyframe, get time 0.
    fn time(&mut self, entry: &Entry) -> Timestamp {
        let packet = &entry.packet;
        if self.base.is_none() && !packet.kind.is_header() {
            self.base = Some(self.origin.running_or(self.earliest.unwrap_or(packet.dts)));
        }
        let Some((_, base)) = self.base else { return Timestamp::ZERO };
        let time = Timestamp::from_ms(packet.dts.ms_since(base));
        let time = time.max(Timestamp::ZERO);
        let (last, reorder_ms) = match packet.kind {
            kind if kind.is_video() => (&mut self.last_video, REORDER_MS),
            kind if kind.is_audio() => (&mut self.last_audio, 0),
            _ => return time,
        };
        // Only frames have reliable times; other messages get the time of the newest frame and do not move it.
        let moved = last.filter(|last| !packet.kind.is_frame() || time + reorder_ms < *last).unwrap_or(time);
        debug_assert!(last.is_none_or(|last| moved + reorder_ms >= last), "times go back");
        if packet.kind.is_frame() {
            *last = Some(moved);
        }
        moved
    }
}

/// The chunk size of all relays, so that they can share chunks.
pub const PLATFORM_CHUNK_BYTES: std::num::NonZeroUsize = DEFAULT_CHUNK_BYTES;
