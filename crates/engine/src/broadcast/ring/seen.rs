//! What came until some packet, in so far as it decides where a reader can start.

use std::sync::Arc;

use gostream_proto::{packet::PacketKind, time::Timestamp};

use super::{
    entry::Entry,
    headers::Headers,
    start::{Start, Why},
};

/// Takes packets in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// One past the newest sequence number.
    pub(super) end: u64,
    pub(super) headers: Headers,
    /// The newest keyframe, unless a codec header was replaced since.
    pub(super) keyframe: Option<Start>,
    /// The newest picture, and when it came.
    pub(super) picture: Option<(u64, i64)>,
    /// The number after the newest codec header that replaced another.
    pub(super) changed: u64,
    pub(super) has_video: bool,
    /// The newest sound, and when it came.
    pub(super) sound: Option<(Timestamp, i64)>,
    /// When the first packet came.
    pub(super) began_ms: Option<i64>,
    /// When the newest packet came.
    pub(super) newest_ms: Option<i64>,
    /// How far the stream is, in ms of media.
    pub(super) media_ms: i64,
    /// Since when a reader waits for a keyframe.
    pub(super) wanted_ms: Option<i64>,
    pub(super) video_frames: u64,
}

impl Seen {
    /// The next packet.
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
                        why: Why::Keyframe,
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
