//! The writer of a broadcast: turns a publisher's messages into packets on the broadcast's clock.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gostream_proto::{
    codec,
    flv::Stamped,
    packet::{Packet, PacketKind},
    rtmp::media::{Media, MediaKind},
    track::Codec,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::{LiveProject, Ticket};
use crate::{broadcast::Broadcast, ticks::next_wake};
use crate::{
    broadcast::{Phase, incoming::Incoming, meter::Meter},
    events::{EndReason, Excess},
    limits::Allowed,
    spec::{Goodbye, StreamId},
};

/// A returning encoder that sends no keyframe for this long, in ms, continues without one.
const KEYFRAME_WAIT_MS: i64 = 10_000;
/// A picture that may have more slices is held for this long, in ms; slices of a picture arrive together.
const HELD_MS: i64 = 150;
/// How a publisher leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It ended the stream.
    Goodbye,
    /// It was lost.
    Dropped,
}

/// The current publisher of a broadcast.
#[derive(Debug)]
pub(crate) struct Publisher {
    live: Arc<LiveProject>,
    ticket: Ticket,
    /// It continues a broadcast that had packets, and has not sent a frame yet.
    resumes: bool,
    /// Until when its first keyframe is awaited, in ms since the broadcast began; pictures before it cannot be decoded.
    /// `None` once decoding can continue.
    awaits_keyframe: Option<i64>,
    /// It sends each picture in several messages.
    splits_pictures: bool,
    /// When readers were last woken.
    woke_at: Instant,
    departed: bool,
}

impl Publisher {
    /// Takes the publisher's role with the seat's ticket.
    pub(crate) fn new(live: Arc<LiveProject>, ticket: Ticket) -> Self {
        let resumes = live.broadcast.incoming().newest_ms.is_some();
        live.broadcast.forget_speed();
        live.broadcast.set_phase(Phase::Live);
        let awaits_keyframe = resumes.then(|| live.broadcast.age_ms() + KEYFRAME_WAIT_MS);
        Self {
            live,
            ticket,
            resumes,
            awaits_keyframe,
            splits_pictures: false,
            woke_at: Instant::now(),
            departed: false,
        }
    }

    /// The broadcast that it writes.
    pub(crate) fn broadcast(&self) -> &Arc<Broadcast> {
        &self.live.broadcast
    }

    /// Cancelled when another publisher took over.
    pub(crate) fn leave(&self) -> &CancellationToken {
        &self.ticket.leave
    }

    /// The id of its stream.
    pub(crate) fn stream(&self) -> StreamId {
        self.live.broadcast.stream
    }

    /// Writes one message that arrived at `now`. Does nothing once another publisher has the seat.
    pub(crate) fn push(&mut self, media: Media, now: Instant) {
        let live = Arc::clone(&self.live);
        let ticket = self.ticket.clone();
        live.if_seated(&ticket, || self.write(media, now));
    }

    /// Counts a message; returns an excess, if any. The count continues over connections.
    pub(crate) fn count_message(&self, allowed: Allowed, now: Instant) -> Option<Excess> {
        self.live.rate_limit().count_message(allowed, now)
    }

    /// Counts received bytes; returns an excess, if any.
    pub(crate) fn count_bytes(&self, allowed: Allowed, bytes: u64, now: Instant) -> Option<Excess> {
        self.live.rate_limit().count_bytes(allowed, bytes, now)
    }

    /// Wakes the readers for the pushed packets, respecting the pause between wakes. Returns the time for another call
    /// if it is too early.
    pub(crate) fn flush(&mut self, now: Instant) -> Option<Instant> {
        let whole = self.release_held(now);
        let due = self.wake(now);
        [whole, due].into_iter().flatten().min()
    }

    /// As [`Self::flush`], but on a tick, when waking readers is never too early. Returns when a held picture is due.
    pub(crate) fn flush_at_once(&mut self, now: Instant) -> Option<Instant> {
        let whole = self.release_held(now);
        self.wake_readers(now);
        whole
    }

    /// Releases a held picture once nothing more followed. Returns the time at which it is due before that.
    fn release_held(&mut self, now: Instant) -> Option<Instant> {
        if !self.splits_pictures {
            return None;
        }
        let broadcast = Arc::clone(&self.live.broadcast);
        let whole_ms = {
            let incoming = broadcast.incoming();
            incoming.normaliser.holds_picture().then_some(incoming.video_ms + HELD_MS)?
        };
        let left_ms = whole_ms - broadcast.ms_at(now);
        if left_ms > 0 {
            return Some(now + Duration::from_millis(left_ms.unsigned_abs()));
        }
        let (live, ticket) = (Arc::clone(&self.live), self.ticket.clone());
        live.if_seated(&ticket, || self.write_held());
        None
    }

    fn wake(&mut self, now: Instant) -> Option<Instant> {
        let pause = self.pause();
        if !pause.is_zero() {
            let due = next_wake(self.woke_at, pause);
            if now < due {
                return Some(due);
            }
        }
        self.wake_readers(now);
        None
    }

    fn wake_readers(&mut self, now: Instant) {
        self.woke_at = now;
        self.live.broadcast.wake_readers();
    }

    /// The current pause between wakes.
    pub(crate) fn pause(&self) -> Duration {
        self.live.broadcast.pause_between_wakes()
    }

    /// Leaves the seat. A goodbye ends the broadcast, unless the project treats it as a drop, after which the encoder
    /// may return.
    pub(crate) fn depart(&mut self, departure: Departure) {
        self.departed = true;
        let live = Arc::clone(&self.live);
        let ticket = self.ticket.clone();
        live.if_seated(&ticket, || self.write_held());
        self.live.broadcast.wake_readers();
        leave(&self.live, &self.ticket, departure);
    }

    /// Leaves the seat as a lost publisher; a goodbye may still be reported later.
    pub(crate) fn drop_out(mut self) -> Departed {
        self.depart(Departure::Dropped);
        Departed { live: Arc::downgrade(&self.live), ticket: self.ticket.clone() }
    }

    fn write(&mut self, media: Media, now: Instant) {
        let live = Arc::clone(&self.live);
        let broadcast = &live.broadcast;
        let arrived_ms = broadcast.ms_at(now);
        let mut incoming = broadcast.incoming();
        let mut packets = std::mem::take(&mut incoming.packets);
        incoming.normalise(&media, &mut packets);
        self.place(&mut packets, &mut incoming, arrived_ms);
        incoming.packets = packets;
        if media.kind == MediaKind::Video {
            incoming.video_ms = arrived_ms;
        }
        let observed = incoming.observations();
        self.splits_pictures = observed.oddities.split_pictures;
        if std::mem::replace(&mut incoming.reported, observed) != observed {
            broadcast.meter().set_speed(observed.speed_percent);
            let mut notices = broadcast.notices();
            notices.add_oddities(observed.oddities);
            notices.add_findings(observed.findings);
            notices.set_slow_encoder(observed.slow_percent);
        }
    }

    /// Writes the held picture.
    fn write_held(&mut self) {
        let live = Arc::clone(&self.live);
        let mut incoming = live.broadcast.incoming();
        let mut held = incoming.normaliser.finish().into_iter().collect();
        let arrived_ms = incoming.video_ms;
        self.place(&mut held, &mut incoming, arrived_ms);
    }

    /// Sets the times of the packets of one message and pushes them to the ring.
    fn place(&mut self, packets: &mut Vec<Stamped>, incoming: &mut Incoming, arrived_ms: i64) {
        let live = Arc::clone(&self.live);
        let broadcast = &live.broadcast;
        let mut placed = None;
        for Stamped { mut packet, wire, was_held } in packets.drain(..) {
            if !self.takes(&packet, arrived_ms) {
                continue;
            }
            if packet.kind.is_frame() {
                if std::mem::take(&mut self.resumes) {
                    incoming.clock.restart();
                }
                incoming.newest_ms = Some(arrived_ms);
            }
            let came_ms = if was_held { incoming.video_ms } else { arrived_ms };
            packet.dts = incoming.time(&packet, wire, came_ms, &mut placed);
            let mut meter = broadcast.meter();
            learn_tracks(&packet, &mut meter);
            meter.count(&packet, arrived_ms);
            drop(meter);
            broadcast.ring().push(packet, arrived_ms);
        }
    }

    /// Whether readers need the packet. A returning encoder repeats headers that readers have, and should begin with a
    /// keyframe.
    fn takes(&mut self, packet: &Packet, arrived_ms: i64) -> bool {
        match packet.kind {
            PacketKind::VideoOther | PacketKind::AudioOther if self.resumes => return false,
            kind if kind.is_header() && self.resumes => return !self.is_known(packet),
            PacketKind::Keyframe => self.awaits_keyframe = None,
            PacketKind::InterFrame | PacketKind::Slices => {
                self.awaits_keyframe = self.awaits_keyframe.filter(|until_ms| arrived_ms < *until_ms);
                return self.awaits_keyframe.is_none();
            }
            _ => {}
        }
        true
    }

    /// Whether readers already have this header.
    fn is_known(&self, header: &Packet) -> bool {
        let ring = self.live.broadcast.ring();
        ring.headers()
            .iter()
            .map(|known| &known.packet)
            .any(|known| (known.kind, &known.flv, &known.payload) == (header.kind, &header.flv, &header.payload))
    }
}

/// Learns tracks from codec headers; for codecs without a header (MP3, Speex), from the first frame.
fn learn_tracks(packet: &Packet, meter: &mut Meter) {
    match (packet.kind, packet.codec) {
        (PacketKind::VideoHeader, Codec::Video(codec)) => {
            meter.set_video_track(codec::video_facts(codec, &packet.payload));
        }
        (PacketKind::AudioHeader, Codec::Audio(codec)) => {
            meter.set_audio_track(codec::audio_facts(codec, &packet.payload));
        }
        (PacketKind::Audio, Codec::Audio(codec)) if !meter.has_audio() => {
            if let Some(track) = codec::headerless_audio_facts(codec, &packet.payload) {
                meter.set_audio_track(track);
            }
        }
        _ => {}
    }
}

/// Leaves the seat, unless another publisher has taken it.
fn leave(live: &LiveProject, ticket: &Ticket, departure: Departure) {
    let ends = departure == Departure::Goodbye && live.spec.borrow().goodbye == Goodbye::Ends;
    live.if_seated(ticket, || {
        if ends {
            live.broadcast.end(EndReason::EncoderStopped);
        } else {
            live.broadcast.forget_speed();
            live.broadcast.set_phase(Phase::Dropped(Instant::now()));
        }
    });
}

/// A publisher that was lost, while its broadcast waits for it.
#[derive(Debug)]
pub(crate) struct Departed {
    live: Weak<LiveProject>,
    ticket: Ticket,
}

impl Departed {
    /// Handles a late report that it ended the stream.
    pub(crate) fn say_goodbye(self) {
        if let Some(live) = self.live.upgrade() {
            leave(&live, &self.ticket, Departure::Goodbye);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if !self.departed {
            self.depart(Departure::Dropped);
        }
    }
}
