//! The writer of a broadcast: turns a publisher's messages into packets on the broadcast's clock.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gostream_proto::{
    codec, flv,
    packet::{Packet, PacketKind},
    rtmp::media::{Media, MediaKind},
    time::{Timestamp, Unwrapper},
};
use tokio::time::Instant;

use super::{
    Phase,
    pace::next_wake,
    registry::{Live, Ticket},
};
use crate::{
    engine::EndReason,
    spec::{Goodbye, StreamId},
};

/// The clock of a broadcast: it goes on when encoders come and go.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    unwrapper: Unwrapper,
    /// When the newest packet came.
    arrived: Option<Instant>,
}

/// How a publisher leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It said that it is done.
    Goodbye,
    /// It was lost.
    Dropped,
}

/// The connection that publishes now.
#[derive(Debug)]
pub(crate) struct Publisher {
    live: Arc<Live>,
    ticket: Ticket,
    /// It continues a broadcast that had packets before, and has not sent a frame yet.
    resumes: bool,
    /// It continues with video that cannot be decoded before its first keyframe.
    awaits_keyframe: bool,
    /// When readers were last woken.
    woke_at: Instant,
    departed: bool,
}

impl Publisher {
    /// Takes over with the seat's ticket.
    pub(crate) fn new(live: Arc<Live>, ticket: Ticket) -> Self {
        let resumes = live.broadcast.timeline().arrived.is_some();
        live.broadcast.set_phase(Phase::Live);
        Self { live, ticket, resumes, awaits_keyframe: resumes, woke_at: Instant::now(), departed: false }
    }

    /// The stream it publishes.
    pub(crate) fn stream(&self) -> StreamId {
        self.live.broadcast.stream
    }

    /// Writes one message. Nothing happens once another publisher has the seat.
    pub(crate) fn push(&mut self, media: Media) {
        let live = Arc::clone(&self.live);
        let ticket = self.ticket.clone();
        live.if_seated(&ticket, || self.write(media));
    }

    /// Counts what came; tells whether that was more than `allowed_kbps` bears. A connection after this one counts on.
    pub(crate) fn exceeds(&self, allowed_kbps: u32, bytes: usize) -> bool {
        self.live.pace().exceeds(allowed_kbps, bytes, Instant::now())
    }

    /// Wakes the readers for what was pushed; with many of them not more often than they can afford. Gives the time at which
    /// to call again if it is too early.
    pub(crate) fn flush(&mut self) -> Option<Instant> {
        let pause = self.pause();
        let now = Instant::now();
        if !pause.is_zero() {
            let due = next_wake(self.woke_at, pause);
            if now < due {
                return Some(due);
            }
        }
        self.woke_at = now;
        self.live.broadcast.wake_readers();
        None
    }

    /// How long packets may be collected.
    pub(crate) fn pause(&self) -> Duration {
        self.live.broadcast.pause_between_wakes()
    }

    /// Leaves. A goodbye ends the broadcast, unless its owner wants it taken for a drop, which leaves it open for a return.
    pub(crate) fn depart(&mut self, departure: Departure) {
        self.departed = true;
        self.live.broadcast.wake_readers();
        leave(&self.live, &self.ticket, departure);
    }

    /// Leaves as one that was lost; whether it said goodbye may still become known.
    pub(crate) fn drop_out(mut self) -> Departed {
        self.depart(Departure::Dropped);
        Departed { live: Arc::downgrade(&self.live), ticket: self.ticket.clone() }
    }

    fn write(&mut self, media: Media) {
        let mut packet = self.packet(&media);
        if self.resumes && packet.kind.is_header() && self.is_known(&packet) {
            return;
        }
        match packet.kind {
            PacketKind::InterFrame if self.awaits_keyframe => return,
            PacketKind::Keyframe => self.awaits_keyframe = false,
            _ => {}
        }
        packet.dts = self.time(&packet, media.timestamp);
        let broadcast = &self.live.broadcast;
        broadcast.meter().count(&packet);
        broadcast.ring().push(packet);
    }

    /// Whether readers have this very header already.
    fn is_known(&self, header: &Packet) -> bool {
        let ring = self.live.broadcast.ring();
        ring.headers().of_kind(header.kind).is_some_and(|known| known.packet.body == header.body)
    }

    /// What the message is. Tracks are read off codec headers on the way.
    fn packet(&self, media: &Media) -> Packet {
        let body = media.body.clone();
        let dts = Timestamp::ZERO;
        let packet = match media.kind {
            MediaKind::Metadata => Packet { kind: PacketKind::Metadata, dts, cts_ms: 0, body },
            MediaKind::Data => Packet { kind: PacketKind::Data, dts, cts_ms: 0, body },
            MediaKind::Video => flv::video_packet(dts, body),
            MediaKind::Audio => flv::audio_packet(dts, body),
        };
        let mut meter = self.live.broadcast.meter();
        match packet.kind {
            PacketKind::VideoHeader => {
                if let Some(track) = flv::VideoTag::parse(&packet.body).ok().and_then(|tag| codec::video_track(&tag)) {
                    meter.set_video_track(track);
                }
            }
            // Codecs without a header (MP3, Speex) are known by their first frame.
            PacketKind::AudioHeader | PacketKind::Audio
                if packet.kind == PacketKind::AudioHeader || !meter.has_audio() =>
            {
                if let Some(track) = flv::AudioTag::parse(&packet.body).ok().and_then(|tag| codec::audio_track(&tag)) {
                    meter.set_audio_track(track);
                }
            }
            _ => {}
        }
        packet
    }

    /// The packet's time. Headers and metadata stand at the newest time and do not move the clock: encoders stamp them 0.
    fn time(&mut self, packet: &Packet, wire: u32) -> Timestamp {
        let mut timeline = self.live.broadcast.timeline();
        if !packet.kind.is_frame() {
            return timeline.unwrapper.newest().unwrap_or(Timestamp::from_ms(wire.into()));
        }
        let now = Instant::now();
        if std::mem::take(&mut self.resumes)
            && let Some(arrived) = timeline.arrived
        {
            // The viewer's clock went on meanwhile.
            let gap = (now - arrived).as_millis() as i64;
            timeline.unwrapper.splice(gap, wire);
        }
        timeline.arrived = Some(now);
        timeline.unwrapper.unwrap(wire)
    }
}

/// Leaves the seat, if nobody else has taken it.
fn leave(live: &Live, ticket: &Ticket, departure: Departure) {
    let ends = departure == Departure::Goodbye && live.spec.borrow().goodbye == Goodbye::Ends;
    live.if_seated(ticket, || {
        if ends {
            live.broadcast.end(EndReason::EncoderStopped);
        } else {
            live.broadcast.set_phase(Phase::Dropped(Instant::now()));
        }
    });
}

/// A publisher that was lost, for as long as its broadcast waits for it.
#[derive(Debug)]
pub(crate) struct Departed {
    live: Weak<Live>,
    ticket: Ticket,
}

impl Departed {
    /// It is known now that it said goodbye.
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
