//! The writer of a broadcast: turns a publisher's messages into packets on the broadcast's clock.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gostream_proto::{
    codec,
    flv::{self, AudioTag, Normaliser, Oddities, Stamped},
    packet::{Packet, PacketKind},
    rtmp::media::{Media, MediaKind},
    time::{Clock, Elementary, Findings, Timestamp},
    track::Codec,
};
use tokio::time::Instant;

use super::{
    Phase,
    meter::Meter,
    pace::next_wake,
    registry::{Live, Ticket},
    speed::Speed,
};
use crate::{
    engine::EndReason,
    ingest::excess::{Allowed, Excess},
    spec::{Goodbye, StreamId},
};

/// An encoder that returns without a keyframe for this long goes on without one.
const KEYFRAME_PATIENCE_MS: i64 = 10_000;
/// A picture that might go on is held for this long: slices of a picture come together.
const HELD_MS: i64 = 150;
/// What OBS announces its additional audio track with.
const EXPECT_MEDIA: &[u8] = b"onExpectAdditionalMedia";

/// What a broadcast knows of its encoder's stream: it goes on when encoders come and go.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    clock: Clock,
    normaliser: Normaliser,
    /// When the newest media came, in ms since the broadcast began.
    newest_ms: Option<i64>,
    /// When the newest video message came.
    video_ms: i64,
    /// The packets of one message.
    packets: Vec<Stamped>,
    speed: Speed,
    /// What the notices were made from.
    told: Seen,
}

/// What was found out about the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    oddities: Oddities,
    findings: Findings,
    /// The share of real time that comes, in percent.
    speed_percent: Option<u32>,
    /// The same, if it is too little.
    slow_percent: Option<u32>,
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
    /// It continues with video that cannot be decoded before its first keyframe, which is waited for until
    /// then, in ms since the broadcast began.
    awaits_keyframe: Option<i64>,
    /// Its pictures come in several messages each.
    splits_pictures: bool,
    /// When readers were last woken.
    woke_at: Instant,
    departed: bool,
}

impl Publisher {
    /// Takes over with the seat's ticket.
    pub(crate) fn new(live: Arc<Live>, ticket: Ticket) -> Self {
        let resumes = live.broadcast.timeline().newest_ms.is_some();
        live.broadcast.forget_speed();
        live.broadcast.set_phase(Phase::Live);
        let awaits_keyframe = resumes.then(|| live.broadcast.age_ms() + KEYFRAME_PATIENCE_MS);
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

    /// The stream it publishes.
    pub(crate) fn stream(&self) -> StreamId {
        self.live.broadcast.stream
    }

    /// Writes one message that came at `now`. Nothing happens once another publisher has the seat.
    pub(crate) fn push(&mut self, media: Media, now: Instant) {
        let live = Arc::clone(&self.live);
        let ticket = self.ticket.clone();
        live.if_seated(&ticket, || self.write(media, now));
    }

    /// Counts a message; gives an excess. A connection after this one counts on.
    pub(crate) fn count_message(&self, allowed: Allowed, now: Instant) -> Option<Excess> {
        self.live.pace().count_message(allowed, now)
    }

    /// Counts bytes on the wire; gives an excess.
    pub(crate) fn count_bytes(&self, allowed: Allowed, bytes: u64, now: Instant) -> Option<Excess> {
        self.live.pace().count_bytes(allowed, bytes, now)
    }

    /// Wakes the readers for what was pushed; with many of them not more often than they can afford. Gives the time at which
    /// to call again if it is too early.
    pub(crate) fn flush(&mut self, now: Instant) -> Option<Instant> {
        let whole = self.release_held(now);
        let due = self.wake(now);
        [whole, due].into_iter().flatten().min()
    }

    /// A picture that might go on is whole when nothing follows. Gives the time at which it is.
    fn release_held(&mut self, now: Instant) -> Option<Instant> {
        if !self.splits_pictures {
            return None;
        }
        let broadcast = Arc::clone(&self.live.broadcast);
        let whole_ms = {
            let timeline = broadcast.timeline();
            timeline.normaliser.holds_picture().then_some(timeline.video_ms + HELD_MS)?
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
        let live = Arc::clone(&self.live);
        let ticket = self.ticket.clone();
        live.if_seated(&ticket, || self.write_held());
        self.live.broadcast.wake_readers();
        leave(&self.live, &self.ticket, departure);
    }

    /// Leaves as one that was lost; whether it said goodbye may still become known.
    pub(crate) fn drop_out(mut self) -> Departed {
        self.depart(Departure::Dropped);
        Departed { live: Arc::downgrade(&self.live), ticket: self.ticket.clone() }
    }

    fn write(&mut self, media: Media, now: Instant) {
        let live = Arc::clone(&self.live);
        let broadcast = &live.broadcast;
        let arrived_ms = broadcast.ms_at(now);
        let mut timeline = broadcast.timeline();
        let mut packets = std::mem::take(&mut timeline.packets);
        timeline.normalise(&media, &mut packets);
        self.place(&mut packets, &mut timeline, arrived_ms);
        timeline.packets = packets;
        if media.kind == MediaKind::Video {
            timeline.video_ms = arrived_ms;
        }
        let seen = timeline.seen();
        self.splits_pictures = seen.oddities.split_pictures;
        if std::mem::replace(&mut timeline.told, seen) != seen {
            broadcast.meter().set_speed(seen.speed_percent);
            let mut notices = broadcast.notices();
            notices.add_oddities(seen.oddities);
            notices.add_findings(seen.findings);
            notices.set_slow_encoder(seen.slow_percent);
        }
    }

    /// Writes the picture that the encoder might have gone on with.
    fn write_held(&mut self) {
        let live = Arc::clone(&self.live);
        let mut timeline = live.broadcast.timeline();
        let mut held = timeline.normaliser.finish().into_iter().collect();
        let arrived_ms = timeline.video_ms;
        self.place(&mut held, &mut timeline, arrived_ms);
    }

    /// Gives the packets of one message their times, and readers the packets.
    fn place(&mut self, packets: &mut Vec<Stamped>, timeline: &mut Timeline, arrived_ms: i64) {
        let live = Arc::clone(&self.live);
        let broadcast = &live.broadcast;
        let mut placed = None;
        for Stamped { mut packet, wire, was_held } in packets.drain(..) {
            if !self.takes(&packet, arrived_ms) {
                continue;
            }
            if packet.kind.is_frame() {
                if std::mem::take(&mut self.resumes) {
                    timeline.clock.restart();
                }
                timeline.newest_ms = Some(arrived_ms);
            }
            let came_ms = if was_held { timeline.video_ms } else { arrived_ms };
            packet.dts = timeline.time(&packet, wire, came_ms, &mut placed);
            let mut meter = broadcast.meter();
            learn_tracks(&packet, &mut meter);
            meter.count(&packet, arrived_ms);
            drop(meter);
            broadcast.ring().push(packet, arrived_ms);
        }
    }

    /// Whether readers get the packet. An encoder that returns repeats headers that they have, and begins with a keyframe.
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

    /// Whether readers have this very header already.
    fn is_known(&self, header: &Packet) -> bool {
        let ring = self.live.broadcast.ring();
        ring.headers()
            .iter()
            .map(|known| &known.packet)
            .any(|known| (known.kind, &known.body, &known.payload) == (header.kind, &header.body, &header.payload))
    }
}

impl Timeline {
    /// Another encoder comes, or none.
    pub(super) fn forget_speed(&mut self) {
        self.speed.restart();
        (self.told.speed_percent, self.told.slow_percent) = (None, None);
    }

    fn seen(&self) -> Seen {
        let mut findings = self.clock.findings();
        // An encoder that is too slow looks like one whose clock is.
        findings.drift_percent = findings.drift_percent.filter(|_| !self.speed.explains_drift());
        let (speed_percent, slow_percent) = (self.speed.percent(), self.speed.slow_percent());
        Seen { oddities: self.normaliser.oddities(), findings, speed_percent, slow_percent }
    }

    /// The packets in a message.
    fn normalise(&mut self, media: &Media, packets: &mut Vec<Stamped>) {
        let (body, wire) = (media.body.clone(), media.timestamp);
        let mut push = |kind, body| {
            let packet = Packet::opaque(kind, Timestamp::ZERO, body);
            packets.push(Stamped { packet, wire, was_held: false });
        };
        match media.kind {
            MediaKind::Video => self.normaliser.video(body, wire, packets),
            MediaKind::Audio => self.normaliser.audio(body, wire, packets),
            MediaKind::Metadata => push(PacketKind::Metadata, body),
            MediaKind::Data => {
                // What comes before any media is meant to come first.
                let announces = self.newest_ms.is_none()
                    || body.windows(EXPECT_MEDIA.len()).take(32).any(|name| name == EXPECT_MEDIA);
                let kind = if announces { PacketKind::Announcement } else { PacketKind::Data };
                push(kind, body);
            }
        }
    }

    /// The packet's time; `placed` is that of the newest stamp of its message. What is no frame of a main track does not move the clock: encoders
    /// stamp headers and metadata 0.
    fn time(
        &mut self,
        packet: &Packet,
        wire: u32,
        arrived_ms: i64,
        placed: &mut Option<(u32, Timestamp)>,
    ) -> Timestamp {
        let stamped = Timestamp::from_ms(wire.into());
        let track = match packet.kind {
            kind if !kind.is_frame() && kind.is_video() => {
                return self.clock.newest_of(Elementary::Video).unwrap_or(stamped);
            }
            kind if !kind.is_frame() && kind.is_audio() => {
                return self.clock.newest_of(Elementary::Audio).unwrap_or(stamped);
            }
            PacketKind::Audio | PacketKind::SideAudio => Elementary::Audio,
            PacketKind::Keyframe | PacketKind::InterFrame | PacketKind::Slices | PacketKind::SideVideo => {
                Elementary::Video
            }
            _ => return self.clock.newest().unwrap_or(stamped),
        };
        if !packet.kind.is_frame() {
            return self.clock.beside(track, wire);
        }
        let time = match *placed {
            Some((stamp, time)) if stamp == wire => time,
            _ => self.clock.place(track, wire, arrived_ms),
        };
        if let Some(source_ms) = self.clock.source_of(track) {
            self.speed.count(track, source_ms, arrived_ms);
        }
        *placed = Some((wire, time));
        time + packet.dts.as_ms()
    }
}

/// Reads tracks off codec headers. Codecs without a header (MP3, Speex) are known by their first frame.
fn learn_tracks(packet: &Packet, meter: &mut Meter) {
    match (packet.kind, packet.codec) {
        (PacketKind::VideoHeader, Codec::Video(codec)) => {
            meter.set_video_track(codec::video_facts(codec, &packet.payload));
        }
        (PacketKind::AudioHeader, _) | (PacketKind::Audio, _)
            if packet.kind == PacketKind::AudioHeader || !meter.has_audio() =>
        {
            if let Some(track) = AudioTag::parse(&packet.body).ok().and_then(|tag| flv::audio_track(&tag)) {
                meter.set_audio_track(track);
            }
        }
        _ => {}
    }
}

/// Leaves the seat, if nobody else has taken it.
fn leave(live: &Live, ticket: &Ticket, departure: Departure) {
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
