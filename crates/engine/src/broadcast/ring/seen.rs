//! The state of a stream after some packet, as far as it decides where a reader can start.

use std::sync::Arc;

use gostream_proto::{packet::PacketKind, time::Timestamp};

use super::{
    entry::Entry,
    headers::Headers,
    start::{Start, StartReason},
};

/// Updated with each packet in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// One past the newest sequence number.
    pub(super) end: u64,
    pub(super) headers: Headers,
    /// The newest keyframe, unless a codec header was replaced since.
    pub(super) keyframe: Option<Start>,
    /// Sequence number and arrival (in ms) of the newest picture.
    pub(super) picture: Option<(u64, i64)>,
    /// One past the sequence number of the newest codec header that replaced another.
    pub(super) changed: u64,
    pub(super) has_video: bool,
    /// Time and arrival (in ms) of the newest audio frame.
    pub(super) sound: Option<(Timestamp, i64)>,
    /// Arrival of the first packet, in ms.
    pub(super) began_ms: Option<i64>,
    /// Arrival of the newest packet, in ms.
    pub(super) newest_ms: Option<i64>,
    /// Media time since the beginning, in ms.
    pub(super) media_ms: i64,
    /// Since when a reader waits for a keyframe, in ms.
    pub(super) wanted_ms: Option<i64>,
    pub(super) video_frames: u64,
}

impl Seen {
    /// Adds the next packet.
    pub(super) fn add(&mut self, entry: &Arc<Entry>) {
        let (kind, sequence, arrived_ms) = (entry.packet.kind, self.end, entry.arrived_ms);
        if kind.is_header() && self.headers.replace(entry) {
            self.keyframe = None;
            self.changed = sequence + 1;
        }
        self.began_ms.get_or_insert(arrived_ms);
        self.newest_ms = Some(arrived_ms);
        self.media_ms = entry.media_ms;
        self.has_video |= kind.is_video();
        match kind {
            PacketKind::Keyframe | PacketKind::InterFrame => {
                if kind == PacketKind::Keyframe {
                    self.keyframe = Some(Start {
                        sequence,
                        headers: self.headers.clone(),
                        video_frames_before: self.video_frames,
                        earliest: entry.packet.dts,
                        reason: StartReason::Keyframe,
                    });
                    self.wanted_ms = None;
                }
                self.picture = Some((sequence, arrived_ms));
                self.video_frames += 1;
            }
            PacketKind::Audio => self.sound = Some((entry.packet.dts, arrived_ms)),
            _ => {}
        }
        self.end += 1;
    }
}
