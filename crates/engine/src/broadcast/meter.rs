//! The meter: format and rates of the incoming stream. Rates of tracks that stopped fall to zero.

use std::collections::VecDeque;

use gostream_proto::{
    packet::{Packet, PacketKind},
    track::{AudioTrack, VideoTrack},
};

use crate::status::{AudioStatus, VideoStatus};

/// Rates cover this much time, in ms: long enough for a GOP, short enough to follow a change.
const WINDOW_MS: i64 = 4_000;
/// Frames to remember: more than a second of the fastest cameras.
const FRAMES_MAX: usize = 2_048;
/// A track that has not arrived for this long, in ms, is measured up to now; slower tracks get more time.
const STALE_MS: i64 = 1_500;
/// Media that takes this many times longer to arrive than to play is measured by arrival: the encoder or its network is
/// too slow.
const SLOW: f64 = 1.2;
/// A codec header without frames for this long, in ms, does not set the frame rate.
const ANNOUNCED_MS: i64 = 3_000;

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
    speed_percent: Option<u32>,
}

/// Frames and bytes in the window.
#[derive(Debug, Default)]
struct Rate {
    frames: VecDeque<Frame>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    dts_ms: i64,
    arrived_ms: i64,
    bytes: usize,
}

impl Meter {
    /// Counts a packet that arrived at `arrived_ms`, in ms since the broadcast began.
    pub fn count(&mut self, packet: &Packet, arrived_ms: i64) {
        let bytes = packet.flv.len();
        let ms = packet.dts.as_ms();
        let frame = Frame { dts_ms: ms, arrived_ms, bytes };
        self.received_bytes += bytes as u64;
        match packet.kind {
            PacketKind::Keyframe => {
                self.keyframe_interval_ms =
                    self.last_keyframe_ms.map(|last| ms - last).filter(|&interval| interval > 0);
                self.last_keyframe_ms = Some(ms);
                self.video.count(frame);
            }
            PacketKind::InterFrame => self.video.count(frame),
            PacketKind::Slices => self.video.extend(bytes),
            PacketKind::Audio => self.audio.count(frame),
            _ => {}
        }
    }

    /// Sets the track described by the video codec header.
    pub fn set_video_track(&mut self, track: VideoTrack) {
        self.video_track = Some(track);
    }

    /// Sets the track described by the audio codec header.
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

    /// Sets the speed of the incoming media relative to real time, in percent; `None` while unknown.
    pub fn set_speed(&mut self, percent: Option<u32>) {
        self.speed_percent = percent;
    }

    /// Speed of the incoming media relative to real time, in percent.
    pub fn speed_percent(&self) -> Option<u32> {
        self.speed_percent
    }

    /// The incoming video at `now_ms` since the broadcast began.
    pub fn video(&self, now_ms: i64) -> Option<VideoStatus> {
        let track = self.video_track.as_ref()?;
        let announced = track.fps.filter(|_| self.video.frames.is_empty() && now_ms < ANNOUNCED_MS);
        Some(VideoStatus {
            codec: track.codec.name(),
            width: track.width,
            height: track.height,
            fps: announced.or_else(|| self.video.per_second(now_ms)),
            kbps: self.video.kbps(now_ms),
            keyframe_seconds: self.keyframe_interval_ms.map(|ms| ms as f64 / 1_000.0),
        })
    }

    /// The incoming audio at `now_ms` since the broadcast began.
    pub fn audio(&self, now_ms: i64) -> Option<AudioStatus> {
        let track = self.audio_track.as_ref()?;
        Some(AudioStatus {
            codec: track.codec.name(),
            sample_rate: track.sample_rate,
            channels: track.channels,
            kbps: self.audio.kbps(now_ms),
        })
    }
}

impl Rate {
    fn count(&mut self, frame: Frame) {
        self.frames.push_back(frame);
        self.bytes += frame.bytes;
        // At least two frames stay: they give a rate, however low.
        while let Some(&oldest) = self.frames.front().filter(|_| self.frames.len() > 2)
            && (frame.dts_ms - oldest.dts_ms > WINDOW_MS
                || frame.arrived_ms - oldest.arrived_ms > 2 * WINDOW_MS
                || self.frames.len() > FRAMES_MAX)
        {
            self.frames.pop_front();
            self.bytes -= oldest.bytes;
        }
    }

    /// More bytes of the newest frame.
    fn extend(&mut self, bytes: usize) {
        if let Some(newest) = self.frames.back_mut() {
            newest.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// Frames, bytes, and the time from the first frame to the end of the last, which is assumed to be as long as the
    /// others.
    fn over(&self, now_ms: i64) -> Option<(usize, usize, f64)> {
        let (oldest, newest) = (self.frames.front()?, self.frames.back()?);
        let intervals = self.frames.len() as f64 - 1.0;
        let (media, wall) = ((newest.dts_ms - oldest.dts_ms) as f64, (newest.arrived_ms - oldest.arrived_ms) as f64);
        let between = if wall > SLOW * media && media > 0.0 { wall } else { media };
        let usual_ms = if between > 0.0 { (2.5 * between / intervals) as i64 } else { 0 };
        if now_ms - newest.arrived_ms > STALE_MS.max(usual_ms) {
            let recent = self.frames.iter().rev().take_while(|frame| now_ms - frame.arrived_ms <= WINDOW_MS);
            let (frames, bytes) = recent.fold((0, 0), |(frames, bytes), frame| (frames + 1, bytes + frame.bytes));
            return Some((frames, bytes, WINDOW_MS as f64));
        }
        (between > 0.0).then_some((self.frames.len(), self.bytes, between * (intervals + 1.0) / intervals))
    }

    fn kbps(&self, now_ms: i64) -> u32 {
        // Bits per millisecond are kilobits per second.
        self.over(now_ms).map_or(0, |(_, bytes, span)| (bytes as f64 * 8.0 / span).round() as u32)
    }

    fn per_second(&self, now_ms: i64) -> Option<f64> {
        if self.frames.is_empty() {
            return Some(0.0).filter(|_| now_ms >= ANNOUNCED_MS);
        }
        let (frames, _, span) = self.over(now_ms)?;
        Some((frames as f64 * 1_000.0 / span * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gostream_proto::{time::Timestamp, track::VideoCodec};

    use super::*;

    #[test]
    fn rates_cover_the_last_seconds() {
        let mut meter = Meter::default();
        let track = VideoTrack { codec: VideoCodec::Avc, width: Some(1280), height: Some(720), fps: None };
        meter.set_video_track(track);
        for n in 0..250 {
            let kind = if n % 50 == 0 { PacketKind::Keyframe } else { PacketKind::InterFrame };
            let body = Bytes::from(vec![0; if n < 100 { 10 } else { 5_000 }]);
            meter.count(&Packet::opaque(kind, Timestamp::from_ms(n * 40), body), n * 40);
        }
        let video = meter.video(10_000).expect("has a track");
        assert_eq!((video.fps, video.kbps, video.keyframe_seconds), (Some(25.0), 1_000, Some(2.0)));
        let video = meter.video(12_000).expect("has a track");
        assert_eq!((video.fps, video.kbps), (Some(12.5), 500), "half of the window without pictures");
        let video = meter.video(20_000).expect("has a track");
        assert_eq!((video.fps, video.kbps), (Some(0.0), 0), "a missing track has rate 0");
    }

    #[test]
    fn encoder_at_half_speed_is_measured_by_the_wall_clock() {
        let mut rate = Rate::default();
        (0..200).for_each(|n| rate.count(Frame { dts_ms: n * 40, arrived_ms: n * 80, bytes: 5_000 }));
        assert_eq!((rate.per_second(199 * 80), rate.kbps(199 * 80)), (Some(12.5), 500));
        // A burst, as at the beginning, is measured by media time.
        let mut rate = Rate::default();
        (0..100).for_each(|n| rate.count(Frame { dts_ms: n * 40, arrived_ms: 0, bytes: 5_000 }));
        assert_eq!((rate.per_second(0), rate.kbps(0)), (Some(25.0), 1_000));
    }

    #[test]
    fn time_lapse_has_a_rate() {
        let mut rate = Rate::default();
        (0..4).for_each(|n| rate.count(Frame { dts_ms: n * 5_000, arrived_ms: n * 5_000, bytes: 1_000 }));
        assert_eq!(rate.per_second(19_000), Some(0.2));
        assert_eq!(rate.per_second(40_000), Some(0.0));
    }

    #[test]
    fn remembered_frames_are_bounded() {
        let mut rate = Rate::default();
        (0..100_000).for_each(|_| rate.count(Frame { dts_ms: 0, arrived_ms: 0, bytes: 1 }));
        assert_eq!((rate.frames.len(), rate.bytes), (FRAMES_MAX, FRAMES_MAX));
    }

    #[test]
    fn one_frame_gives_no_rate() {
        let mut rate = Rate::default();
        rate.count(Frame { dts_ms: 0, arrived_ms: 0, bytes: 1_000 });
        assert_eq!((rate.kbps(10), rate.per_second(10)), (0, None));
    }
}
