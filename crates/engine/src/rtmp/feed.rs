//! A feed: a subscription on its way to one RTMP connection, with that connection's clock.
//!
//! The only change to a stream is one constant offset of its times: a connection begins at 0 with the packet it begins
//! with. Where the delay of a destination changes, so does the offset, see [`super::origin`].

use std::{sync::Arc, time::Duration};

use gostream_proto::{
    packet::PacketKind,
    rtmp::{client::DEFAULT_CHUNK_BYTES, media::MediaOut},
    time::{REORDER_MS, Timestamp},
};

use tokio::time::timeout;

use super::origin::{Origin, Running, Turn};
use crate::broadcast::{
    ring::{Entry, Headers},
    subscription::{Batch, Path, Subscription},
};

/// A change of the delay is looked after this often where no packets come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who is fed: platforms get metadata wrapped and small chunks, players bare metadata and large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A platform we push to.
    Platform,
    /// A player that pulls from us.
    Player,
}

/// Reads a broadcast and hands out RTMP media.
#[derive(Debug)]
pub struct Feed {
    subscription: Subscription,
    audience: Audience,
    batch: Batch,
    unread: bool,
    headers: Headers,
    /// The media time that is 0 on the wire.
    base: Option<(Arc<Running>, Timestamp)>,
    origin: Origin,
    /// The change of the delay that it follows already.
    turn: Turn,
    /// The beginning of the clock from the end of the turn on.
    next_base: Option<Timestamp>,
    /// The newest frame of each main track.
    last_video: Option<Timestamp>,
    last_audio: Option<Timestamp>,
    /// The earliest time of what is handed out first.
    earliest: Option<Timestamp>,
    last_read_ms: Option<i64>,
    skipped_frames: u64,
}

/// What came of filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Nothing new.
    Nothing,
    /// Media was handed out.
    Media,
    /// A codec header changed: what follows fits another connection. Not handed out.
    HeadersChanged,
}

impl Feed {
    /// A feed from the newest keyframe on.
    pub fn new(subscription: Subscription, audience: Audience, origin: Origin) -> Self {
        Self {
            subscription,
            audience,
            batch: Batch::default(),
            unread: true,
            headers: Headers::default(),
            base: None,
            origin,
            turn: Turn::default(),
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
        if self.origin.is_turning() {
            let _ = timeout(LOOK_AGAIN, self.subscription.changed()).await;
        } else {
            self.subscription.changed().await;
        }
        // Being told counts as having looked.
        self.unread = true;
    }

    /// How many video frames were skipped because the connection was too slow.
    pub fn skipped_frames(&self) -> u64 {
        self.skipped_frames
    }

    /// When the newest packet that was handed out came, in ms since the broadcast began.
    pub fn last_read_ms(&self) -> Option<i64> {
        self.last_read_ms
    }

    /// How long before the newest packet that is due that one came, in ms.
    pub fn lag_ms(&self) -> i64 {
        let due = self.subscription.broadcast().newest_due_ms(self.delay_ms());
        due.zip(self.last_read_ms).map_or(0, |(due, read)| (due - read).max(0))
    }

    /// How much later than it comes the stream is handed out, in ms.
    pub fn delay_ms(&self) -> i64 {
        self.turn.delay_ms
    }

    /// Hands about `bytes_max` of media to `send`.
    pub fn fill(&mut self, bytes_max: usize, mut send: impl FnMut(&MediaOut<'_>)) -> Filled {
        let mut batch = std::mem::take(&mut self.batch);
        if !self.read(&mut batch, bytes_max) {
            self.batch = batch;
            return Filled::Nothing;
        }
        if self.subscription.delay_ms() < self.turn.delay_ms {
            self.turn.delay_ms = self.subscription.delay_ms();
            self.origin.shorten(self.turn, self.subscription.broadcast());
        }
        let is_turning = self.subscription.is_turning();
        if let Some(base) = self.next_base.take_if(|_| !is_turning) {
            self.base = self.base.take().map(|(running, _)| (running, base));
        }
        // What did not fit is read without being told again.
        self.unread = batch.bytes >= bytes_max || is_turning;
        let filled = self.hand_out(&batch, &mut send);
        self.batch = batch;
        filled
    }

    /// Reads at the delay that the destination has by now. False when there is nothing new.
    fn read(&mut self, batch: &mut Batch, bytes_max: usize) -> bool {
        let Self { origin, subscription, .. } = self;
        let current = origin.current(subscription.broadcast(), || subscription.changed_header());
        let turn = current.turn;
        if turn.number == self.turn.number {
            subscription.set_delay(turn.delay_ms);
        } else {
            // One that missed a turn goes on with the newest at once.
            let missed = turn.number > self.turn.number + 1;
            let path = turn.path.map(|path| if missed { Path { leave: 0, ..path } } else { path });
            subscription.turn_to(turn.delay_ms, path.filter(|_| self.base.is_some()));
            self.next_base = Some(current.base);
            self.unread = true;
        }
        self.turn = turn;
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
            // After a skip the connection goes on, and what it was told before stays true.
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

    /// Whether a codec header replaces another one: decoders at the other end were set up with the old one.
    fn changes(&self, header: &Arc<Entry>) -> bool {
        self.audience == Audience::Platform
            && matches!(header.packet.kind, PacketKind::VideoHeader | PacketKind::AudioHeader)
            && self.is_new(header)
            && self.headers.of_kind(header.packet.kind).is_some()
    }

    /// Whether the other end was not told so yet. Headers without a body are for others.
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

    /// The time on this connection: from 0, and never back within a main track but for pictures that the encoder stamped so.
    /// Headers before the first frame are at 0; the few audio frames that are due just before the first keyframe are, too.
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
        // What is no frame has no time of its own, and moves that of no frame.
        let moved = last.filter(|last| !packet.kind.is_frame() || time + reorder_ms < *last).unwrap_or(time);
        if packet.kind.is_frame() {
            *last = Some(moved);
        }
        moved
    }
}

/// The chunk size that the relays of a broadcast share chunks of.
pub const PLATFORM_CHUNK_BYTES: std::num::NonZeroUsize = DEFAULT_CHUNK_BYTES;
