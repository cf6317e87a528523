//! The meter: what the incoming stream is and how fast it comes.

use std::collections::VecDeque;

use gostream_proto::{
    packet::{Packet, PacketKind},
    track::{AudioTrack, VideoTrack},
};

use crate::status::{AudioStatus, VideoStatus};

/// Rates are over this much media time: long enough to hold a GOP, short enough to follow a change.
const WINDOW_MS: i64 = 4_000;

/// Measures a broadcast.
#[derive(Debug, Default)]
pub struct Meter {
    video_track: Option<VideoTrack>,
    audio_track: Option<AudioTrack>,
    video: Rate,
    audio: Rate,
    received_bytes: u64,
    last_keyframe_ms: Option<i64>,
    keyframe_interval_ms: Option<i64>,
}

/// Frames and bytes over the window.
#[derive(Debug, Default)]
struct Rate {
    frames: VecDeque<(i64, usize)>,
    bytes: usize,
}

impl Meter {
    /// Counts a packet.
    pub fn count(&mut self, packet: &Packet) {
        let bytes = packet.body.len();
        let ms = packet.dts.as_ms();
        self.received_bytes += bytes as u64;
        match packet.kind {
            PacketKind::Keyframe => {
                self.keyframe_interval_ms =
                    self.last_keyframe_ms.map(|last| ms - last).filter(|&interval| interval > 0);
                self.last_keyframe_ms = Some(ms);
                self.video.count(ms, bytes);
            }
            PacketKind::InterFrame => self.video.count(ms, bytes),
            PacketKind::Audio => self.audio.count(ms, bytes),
            _ => {}
        }
    }

    /// What the video codec header says.
    pub fn set_video_track(&mut self, track: VideoTrack) {
        self.video_track = Some(track);
    }

    /// What the audio codec header says.
    pub fn set_audio_track(&mut self, track: AudioTrack) {
        self.audio_track = Some(track);
    }

    /// Whether the audio track is known.
    pub fn has_audio(&self) -> bool {
        self.audio_track.is_some()
    }

    /// Bytes of media received since the start.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// The video as it comes in.
    pub fn video(&self) -> Option<VideoStatus> {
        let track = self.video_track.as_ref()?;
        Some(VideoStatus {
            codec: track.codec.name(),
            width: track.width,
            height: track.height,
            fps: self.video.per_second().or(track.fps),
            kbps: self.video.kbps(),
            keyframe_seconds: self.keyframe_interval_ms.map(|ms| ms as f64 / 1_000.0),
        })
    }

    /// The audio as it comes in.
    pub fn audio(&self) -> Option<AudioStatus> {
        let track = self.audio_track.as_ref()?;
        Some(AudioStatus {
            codec: track.codec.name(),
            sample_rate: track.sample_rate,
            channels: track.channels,
            kbps: self.audio.kbps(),
        })
    }
}

impl Rate {
    fn count(&mut self, ms: i64, bytes: usize) {
        self.frames.push_back((ms, bytes));
        self.bytes += bytes;
        while let Some(&(oldest, bytes)) = self.frames.front()
            && ms - oldest > WINDOW_MS
        {
            self.frames.pop_front();
            self.bytes -= bytes;
        }
    }

    /// The media time from the first frame of the window to the end of the last one, which lasts as long as the others.
    fn span_ms(&self) -> Option<f64> {
        let intervals = self.frames.len().checked_sub(1).filter(|&n| n > 0)? as f64;
        let between = (self.frames.back()?.0 - self.frames.front()?.0) as f64;
        (between > 0.0).then_some(between * (intervals + 1.0) / intervals)
    }

    fn kbps(&self) -> u32 {
        // Bits per millisecond are kilobits per second.
        self.span_ms().map_or(0, |span| (self.bytes as f64 * 8.0 / span).round() as u32)
    }

    fn per_second(&self) -> Option<f64> {
        let rate = self.frames.len() as f64 * 1_000.0 / self.span_ms()?;
        Some((rate * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gostream_proto::{time::Timestamp, track::VideoCodec};

    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut meter = Meter::default();
        let track = VideoTrack { codec: VideoCodec::Avc, width: Some(1280), height: Some(720), fps: None };
        meter.set_video_track(track);
        for n in 0..250 {
            let kind = if n % 50 == 0 { PacketKind::Keyframe } else { PacketKind::InterFrame };
            let body = Bytes::from(vec![0; if n < 100 { 10 } else { 5_000 }]);
            meter.count(&Packet { kind, dts: Timestamp::from_ms(n * 40), cts_ms: 0, body });
        }
        let video = meter.video().expect("has a track");
        assert_eq!((video.fps, video.kbps, video.keyframe_seconds), (Some(25.0), 1_000, Some(2.0)));
    }

    #[test]
    fn one_frame_is_no_rate() {
        let mut rate = Rate::default();
        rate.count(0, 1_000);
        assert_eq!((rate.kbps(), rate.per_second()), (0, None));
    }
}
