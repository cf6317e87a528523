//! From the encoder's milliseconds to ticks: durations that add up, without gaps and without drift.
//!
//! A picture lasts until the next one, so the newest is held until that comes. Sound is counted in samples, since RTMP
//! rounds its times to milliseconds and players want steady ones.

use bytes::{BufMut, Bytes, BytesMut};

use super::sample::Sample;
use crate::time::Timestamp;

/// Ticks per millisecond of video: the clock of MPEG, 90 kHz.
pub const VIDEO_TICKS_PER_MS: i64 = 90;
/// Added to every time, so that a stream may begin a little before 0; as much as in MPEG-TS.
pub const OFFSET_MS: i64 = 1_400;

/// A picture on its way into a sample.
#[derive(Clone, Debug)]
pub struct Picture {
    /// When it is decoded.
    pub dts: Timestamp,
    /// Presentation time minus decode time, in ms.
    pub cts_ms: i32,
    /// Decoding can start with it.
    pub sync: bool,
    /// Its bytes.
    pub payload: Bytes,
}

/// The clock of a video track.
#[derive(Debug, Default)]
pub struct VideoClock {
    held: Option<Sample>,
    /// More of it: slices that came in messages of their own.
    slices: BytesMut,
    /// Where the newest sample ends.
    end: i64,
    /// How long it lasted.
    duration: u32,
}

/// The longest picture that is joined of slices: more than any real one.
const SPLIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a picture lasts that has neither a successor nor a predecessor: one at 30 fps.
const USUAL_DURATION: u32 = 3_000;

impl VideoClock {
    /// A picture comes at `dts`: gives the one that was held, which lasts until then.
    pub fn release(&mut self, dts: Timestamp) -> Option<Sample> {
        let held = self.take_held()?;
        // Times that stand still or go back get a tick, so that each sample has a place of its own.
        let duration = u32::try_from((video_ticks(dts) - held.dts).max(1)).unwrap_or(u32::MAX);
        Some(self.ended(held, duration))
    }

    /// Nothing follows: gives the one that was held, which lasts as long as the one before it.
    pub fn flush(&mut self) -> Option<Sample> {
        let held = self.take_held()?;
        let duration = if self.duration > 0 { self.duration } else { USUAL_DURATION };
        Some(self.ended(held, duration))
    }

    /// Holds a picture until its successor comes. The one before it must have been released.
    pub fn hold(&mut self, picture: Picture) {
        let wanted = video_ticks(picture.dts);
        let dts = wanted.max(self.end);
        // The presentation time stays what the encoder said.
        let composition = wanted + i64::from(picture.cts_ms) * VIDEO_TICKS_PER_MS - dts;
        let composition = composition.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.held = Some(Sample { dts, duration: 0, composition, sync: picture.sync, payload: picture.payload });
    }

    /// More of the picture that is held: slices that came in a message of their own. What is more than a picture can have is
    /// left out.
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
    /// Where the newest sample ends, in samples.
    end: Option<i64>,
}

/// How far the count of samples may be from the encoder's times, in ms: more than the jitter of any encoder, and less than
/// what the eye sees between lips and voice.
const DRIFT_MAX_MS: i64 = 50;

impl AudioClock {
    /// The place of a frame of so many `samples` that the encoder puts at `dts`; `None` for one that comes so early that
    /// the sound before it is still playing, which is left out.
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

/// A time in samples.
pub(crate) fn audio_ticks(time: Timestamp, rate: u32) -> i64 {
    (time + OFFSET_MS).as_ms().saturating_mul(rate.into()).max(0) / 1_000
}
