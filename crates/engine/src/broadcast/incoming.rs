//! What a broadcast knows about its encoder's stream, whichever connection brings it.

use gostream_proto::{
    flv::{Normaliser, Oddities, Stamped},
    packet::{Packet, PacketKind},
    rtmp::media::{Media, MediaKind},
    time::{Clock, Findings, MainTrack, Timestamp},
};

use super::speed::Speed;

/// The command with which OBS announces an additional audio track.
const EXPECT_MEDIA: &[u8] = b"onExpectAdditionalMedia";

/// State of the encoder's stream. It outlives the encoder's connections.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) clock: Clock,
    pub(crate) normaliser: Normaliser,
    /// Arrival of the newest media, in ms since the broadcast began.
    pub(crate) newest_ms: Option<i64>,
    /// Arrival of the newest video message, in ms since the broadcast began.
    pub(crate) video_ms: i64,
    /// The packets of one message; kept to reuse its memory.
    pub(crate) packets: Vec<Stamped>,
    speed: Speed,
    /// The observations that the current notices are based on.
    pub(crate) reported: Observations,
}

/// Observations about the encoder, for notices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Observations {
    pub(crate) oddities: Oddities,
    pub(crate) findings: Findings,
    /// Media time relative to real time, in percent.
    pub(crate) speed_percent: Option<u32>,
    /// `speed_percent`, if the encoder is too slow.
    pub(crate) slow_percent: Option<u32>,
}

impl Incoming {
    /// An encoder connected or left: speed is measured from the beginning.
    pub(crate) fn forget_speed(&mut self) {
        self.speed.restart();
        (self.reported.speed_percent, self.reported.slow_percent) = (None, None);
    }

    pub(crate) fn observations(&self) -> Observations {
        let mut findings = self.clock.findings();
        // A slow encoder looks like one with a slow clock.
        findings.drift_percent = findings.drift_percent.filter(|_| !self.speed.explains_drift());
        let (speed_percent, slow_percent) = (self.speed.percent(), self.speed.slow_percent());
        Observations { oddities: self.normaliser.oddities(), findings, speed_percent, slow_percent }
    }

    /// Splits a message into packets.
    pub(crate) fn normalise(&mut self, media: &Media, packets: &mut Vec<Stamped>) {
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
                // Data before any media is meant to come first.
                let announces = self.newest_ms.is_none()
                    || body.windows(EXPECT_MEDIA.len()).take(32).any(|name| name == EXPECT_MEDIA);
                let kind = if announces { PacketKind::Announcement } else { PacketKind::Data };
                push(kind, body);
            }
        }
    }

    /// The time of a packet. `placed` caches the newest timestamp of the same message and its time. Only frames of main
    /// tracks move the clock: encoders give headers and metadata the timestamp 0.
    pub(crate) fn time(
        &mut self,
        packet: &Packet,
        wire: u32,
        arrived_ms: i64,
        placed: &mut Option<(u32, Timestamp)>,
    ) -> Timestamp {
        let stamped = Timestamp::from_ms(wire.into());
        let track = match packet.kind {
            kind if !kind.is_frame() && kind.is_video() => {
                return self.clock.newest_of(MainTrack::Video).unwrap_or(stamped);
            }
            kind if !kind.is_frame() && kind.is_audio() => {
                return self.clock.newest_of(MainTrack::Audio).unwrap_or(stamped);
            }
            PacketKind::Audio | PacketKind::SideAudio => MainTrack::Audio,
            PacketKind::Keyframe | PacketKind::InterFrame | PacketKind::Slices | PacketKind::SideVideo => {
                MainTrack::Video
            }
            _ => return self.clock.newest().unwrap_or(stamped),
        };
        if !packet.kind.is_frame() {
            return self.clock.side_time(track, wire);
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
