//! What a broadcast knows of its encoder's stream, whichever connection brings it.

use gostream_proto::{
    flv::{Normaliser, Oddities, Stamped},
    packet::{Packet, PacketKind},
    rtmp::media::{Media, MediaKind},
    time::{Clock, Findings, MainTrack, Timestamp},
};

use super::speed::Speed;

/// What OBS announces its additional audio track with.
const EXPECT_MEDIA: &[u8] = b"onExpectAdditionalMedia";

/// What a broadcast knows of its encoder's stream: it goes on when encoders come and go.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) clock: Clock,
    pub(crate) normaliser: Normaliser,
    /// When the newest media came, in ms since the broadcast began.
    pub(crate) newest_ms: Option<i64>,
    /// When the newest video message came.
    pub(crate) video_ms: i64,
    /// The packets of one message.
    pub(crate) packets: Vec<Stamped>,
    speed: Speed,
    /// What the notices were made from.
    pub(crate) told: Seen,
}

/// What was found out about the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) oddities: Oddities,
    pub(crate) findings: Findings,
    /// The share of real time that comes, in percent.
    pub(crate) speed_percent: Option<u32>,
    /// The same, if it is too little.
    pub(crate) slow_percent: Option<u32>,
}

impl Incoming {
    /// Another encoder comes, or none.
    pub(crate) fn forget_speed(&mut self) {
        self.speed.restart();
        (self.told.speed_percent, self.told.slow_percent) = (None, None);
    }

    pub(crate) fn seen(&self) -> Seen {
        let mut findings = self.clock.findings();
        // An encoder that is too slow looks like one whose clock is.
        findings.drift_percent = findings.drift_percent.filter(|_| !self.speed.explains_drift());
        let (speed_percent, slow_percent) = (self.speed.percent(), self.speed.slow_percent());
        Seen { oddities: self.normaliser.oddities(), findings, speed_percent, slow_percent }
    }

    /// The packets in a message.
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
