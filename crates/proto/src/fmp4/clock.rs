//! Converts the encoder's milliseconds to ticks: sample durations without gaps and without drift.
//!
//! A picture lasts until the next one, so the newest picture is held until its successor arrives. Audio time is counted
//! in samples, because RTMP rounds times to milliseconds and players want a steady rate.

use bytes::{BufMut, Bytes, BytesMut};

use super::sample::Sample;
use crate::time::Timestamp;

/// Ticks per millisecond of video: the 90 kHz clock of MPEG.
pub const VIDEO_TICKS_PER_MS: i64 = 90;
/// Added to every time, in ms, because a stream may begin slightly before 0. Equal to the offset in MPEG-TS.
pub const OFFSET_MS: i64 = 1_400;

/// A picture that becomes a sample once its duration is known.
#[derive(Clone, Debug)]
pub struct PendingPicture {
    /// Decode time.
    pub dts: Timestamp,
    /// Presentation time minus decode time, in ms.
    pub cts_ms: i32,
    /// Decoding can start here.
    pub sync: bool,
    /// Its payload.
    pub payload: Bytes,
}

/// The clock of a video track.
#[derive(Debug, Default)]
pub struct VideoClock {
    held: Option<Sample>,
    /// More slices of the held picture, which arrived in separate messages.
    slices: BytesMut,
    /// End of the newest sample, in ticks.
    end: i64,
    /// Duration of the newest sample, in ticks.
    duration: u32,
}

/// The longest picture that is joined from slices, in bytes; larger than any real picture.
const SPLIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Duration of a picture without successor and predecessor, in ticks: one frame at 30 fps.
const USUAL_DURATION: u32 = 3_000;

impl VideoClock {
    /// Returns the held picture; it lasts until `dts`, the decode time of the next one.
    pub fn release(&mut self, dts: Timestamp) -> Option<Sample> {
        let held = self.take_held()?;
        // Times that repeat or go back become one tick, so that each sample has a distinct time.
        let duration = u32::try_from((video_ticks(dts) - held.dts).max(1)).unwrap_or(u32::MAX);
        Some(self.ended(held, duration))
    }

    /// Returns the held picture at the end of the stream; it lasts as long as the one before it.
    pub fn flush(&mut self) -> Option<Sample> {
        let held = self.take_held()?;
        let duration = if self.duration > 0 { self.duration } else { USUAL_DURATION };
        Some(self.ended(held, duration))
    }

    /// Holds a picture until its successor arrives. The previous one must have been released.
    pub fn hold(&mut self, picture: PendingPicture) {
        let wanted = video_ticks(picture.dts);
        let dts = wanted.max(self.end);
        // The presentation time remains the encoder's.
        let composition = wanted + i64::from(picture.cts_ms) * VIDEO_TICKS_PER_MS - dts;
        let composition = composition.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.held = Some(Sample { dts, duration: 0, composition, sync: picture.sync, payload: picture.payload });
    }

    /// Appends slices to the held picture. Bytes beyond the maximum size of a picture are dropped.
    pub fn extend(&mut self, slices: &[u8]) {
        let room = self.held.as_ref().map_or(0, |held| SPLIT_BYTES_MAX.saturating_sub(held.payload.len()));
        if self.slices.len() + slices.len() <= room {
            self.slices.put_slice(slices);
        }
    }

    fn take_held(&mut self) -> Option<Sample> {
        let mut held = self.held.take()?;
        if !self.slices.is_empty() {
            held.payload = [&held.payload[..], &std::mem::take(&mut self.slices)].concat().into();
        }
        Some(held)
    }

    fn ended(&mut self, held: Sample, duration: u32) -> Sample {
        self.end = held.dts + i64::from(duration);
        self.duration = duration;
        Sample { duration, ..held }
    }
}

fn video_ticks(time: Timestamp) -> i64 {
    (time + OFFSET_MS).as_ms().saturating_mul(VIDEO_TICKS_PER_MS).max(0)
}

/// The clock of an audio track.
#[derive(Debug, Default)]
pub struct AudioClock {
    /// End of the newest sample, in samples.
    end: Option<i64>,
}

/// How far the sample count may be from the encoder's times, in ms: more than the jitter of any encoder, and less than
/// a viewer notices between picture and audio.
const DRIFT_MAX_MS: i64 = 50;

impl AudioClock {
    /// The start time, in samples, of a frame with `samples` samples that the encoder stamped `dts`. `None` if the
    /// frame begins so early that it overlaps the audio before it; such a frame is dropped.
    pub fn place(&mut self, dts: Timestamp, samples: u32, rate: u32) -> Option<i64> {
        let announced = audio_ticks(dts, rate);
        let counted = self.end.unwrap_or(announced);
        let drift_max = DRIFT_MAX_MS * i64::from(rate) / 1_000;
        let place = match announced - counted {
            late if late > drift_max => announced,
            early if early < -drift_max => return None,
            _ => counted,
        };
        self.end = Some(place + i64::from(samples));
        Some(place)
    }
}

/// Converts a time to samples.
pub(crate) fn audio_ticks(time: Timestamp, rate: u32) -> i64 {
    (time + OFFSET_MS).as_ms().saturating_mul(rate.into()).max(0) / 1_000
}
