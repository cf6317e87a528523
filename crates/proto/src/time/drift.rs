//! Drift correction: compares media time with arrival time. Without it, an encoder whose clock is a few percent fast or
//! slow would be minutes away from its viewers after an hour.
//!
//! Every two seconds, the packet with the least delay shows the current lead of media time over arrival. If the lead
//! keeps moving away from its initial value by more than network delays explain, times are stretched or squeezed,
//! equally for both tracks, until it is back. A proportional-integral controller follows a constant drift without a
//! remaining error.
//!
//! ```text
//! the lead leaves its initial value, and    cause                                      action
//! returns within half a minute              temporary congestion                       none
//! stays at the new value                    the encoder slept, or had to catch up      the new value becomes the intended one
//! keeps moving                              the clock is fast or slow                  corrected
//! ```

use super::main_track::MainTrack;

/// Length of a window, in ms. The packet with the least delay represents the window.
const WINDOW_MS: i64 = 2_000;
/// Windows before the initial lead is fixed: encoders, and servers that are pulled from, begin with a burst.
const SETTLING: u32 = 2;
/// A larger error, in ms, is corrected.
const TOLERATED_MS: i64 = 300;
/// The error must have lasted for this number of windows: a network delay is made up, a slow clock is not.
const AHEAD_WINDOWS: u32 = 8;
const LATE_WINDOWS: u32 = 15;
/// The number of windows over which movement of media time is measured.
const MOVING_WINDOWS: u32 = 4;
/// A movement of this much, in ms, most of it before those windows, was a single step.
const STEP_MS: i64 = 150;
/// If the error shrinks by this much, in ms, the clock is not fast or slow; more than jitter.
const BACK_MS: i64 = 150;
/// A longer window, during which no packets arrived, counts as this many seconds.
const SECONDS_MAX: f64 = 2.0 * WINDOW_MS as f64 / 1_000.0;
/// Below this error, in ms, correction ends if the rate is right by then.
const CORRECTED_MS: i64 = 30;
const CORRECTED_RATE: f64 = 0.002;
/// Both tracks get the same correction unless their errors differ by more than the first value; then they are corrected
/// separately until they differ by less than the second. In ms.
const APART_MS: i64 = 250;
const TOGETHER_MS: i64 = 30;
/// Controller gains per second of error, critically damped: an error is corrected within about ten seconds.
const PROPORTIONAL: f64 = 0.15;
const INTEGRAL: f64 = PROPORTIONAL * PROPORTIONAL / 4.0;
/// Times are stretched at most threefold and squeezed at most to a third; they never go back.
const RATES: std::ops::RangeInclusive<f64> = -0.67..=2.0;
/// A correction of this much, in ms, is reported.
const REPORTED_MS: f64 = 1_000.0;
/// A skew between the tracks above this, in ms, is reported.
const SKEW_REPORTED_MS: i64 = 500;

#[derive(Clone, Debug, Default)]
pub(super) struct DriftCorrection {
    /// Start of the window, in ms.
    began_ms: Option<i64>,
    video: Lead,
    audio: Lead,
    /// The tracks moved apart, so each is corrected separately.
    separate: bool,
    skew_ms: Option<i64>,
}

/// The lead of a track's times over their arrivals, in ms, and its correction.
#[derive(Clone, Debug, Default)]
struct Lead {
    /// The highest lead in this window.
    most: Option<i64>,
    /// The highest lead in the settling windows: the intended lead.
    base: Option<i64>,
    windows: u32,
    control: Control,
}

/// The correction of one track.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    /// Number of windows for which the error was too large.
    off_windows: u32,
    /// The error before that, in ms.
    before_ms: i64,
    /// The newest errors, in ms, newest first.
    recent_ms: [i64; MOVING_WINDOWS as usize],
    active: bool,
    integral: f64,
    /// Added to each millisecond.
    rate: f64,
    /// Total correction, in ms.
    corrected_ms: f64,
}

impl DriftCorrection {
    /// The correction added to each millisecond of a track.
    pub(super) fn rate(&self, track: MainTrack) -> f64 {
        match track {
            MainTrack::Video => self.video.control.rate,
            MainTrack::Audio => self.audio.control.rate,
        }
    }

    /// Counts a packet whose time is `lead_ms` ahead of its arrival. Returns whether a window ended.
    pub(super) fn count(&mut self, track: MainTrack, lead_ms: i64, arrived_ms: i64) -> bool {
        let began_ms = *self.began_ms.get_or_insert(arrived_ms);
        let is_over = arrived_ms - began_ms >= WINDOW_MS;
        if is_over {
            self.began_ms = Some(arrived_ms);
            self.judge((arrived_ms - began_ms) as f64 / 1_000.0);
        }
        let lead = self.lead(track);
        lead.most = lead.most.max(Some(lead_ms));
        is_over
    }

    /// An encoder returned: sets the intended lead of a track.
    pub(super) fn resume(&mut self, track: MainTrack, base_ms: i64) {
        let lead = self.lead(track);
        (lead.base, lead.windows) = (Some(base_ms), SETTLING);
    }

    /// The intended lead of a track, in ms.
    pub(super) fn base_ms(&self, track: MainTrack) -> Option<i64> {
        match track {
            MainTrack::Video => self.video.base,
            MainTrack::Audio => self.audio.base,
        }
    }

    fn lead(&mut self, track: MainTrack) -> &mut Lead {
        match track {
            MainTrack::Video => &mut self.video,
            MainTrack::Audio => &mut self.audio,
        }
    }

    /// How much later pictures arrive than the audio of the same moment, in ms, if it is to be reported.
    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// How much faster than the wall clock the encoder's clock runs, in percent, once the difference adds up to one
    /// second.
    pub(super) fn drift_percent(&self) -> Option<f64> {
        let (video, audio) = (&self.video.control, &self.audio.control);
        let most = if video.corrected_ms.abs() >= audio.corrected_ms.abs() { video } else { audio };
        let reported = most.corrected_ms.abs() >= REPORTED_MS && most.integral.abs() > CORRECTED_RATE;
        reported.then(|| -100.0 * most.integral / (1.0 + most.integral))
    }

    fn judge(&mut self, seconds: f64) {
        if let (Some(video), Some(audio)) = (self.video.most, self.audio.most) {
            self.skew_ms = Some(audio - video).filter(|skew| skew.abs() >= SKEW_REPORTED_MS);
        }
        let seconds = seconds.min(SECONDS_MAX);
        let errors = (self.video.error(), self.audio.error());
        let errors =
            (errors.0.or_else(|| self.video.settle(errors.1)), errors.1.or_else(|| self.audio.settle(errors.0)));
        if let (Some(video), Some(audio)) = errors {
            let was_separate = self.separate;
            self.separate = (video - audio).abs() > if was_separate { TOGETHER_MS } else { APART_MS };
            if was_separate && !self.separate {
                self.audio.control = self.video.control;
            }
        }
        if self.separate {
            let mut leads = [(&mut self.video, errors.0), (&mut self.audio, errors.1)];
            for (lead, error) in &mut leads {
                let step_ms = lead.control.judge(*error, seconds);
                lead.base = lead.base.map(|base| base + step_ms);
            }
            // Tracks that drift in the same direction have one clock: correcting only one would move it away from the
            // other.
            let active = leads.iter().find(|(lead, _)| lead.control.active).and_then(|&(_, error)| error);
            for (lead, error) in leads {
                let same_direction = active.zip(error).is_some_and(|(other, own)| other.signum() == own.signum());
                lead.control.active |= same_direction && error.is_some_and(|error| error.abs() > TOLERATED_MS);
                lead.control.steer(error, seconds);
            }
        } else {
            let error = errors.0.zip(errors.1).map(|(video, audio)| (video + audio) / 2);
            let mut control = self.video.control;
            let error = error.or(errors.0).or(errors.1);
            let step_ms = control.judge(error, seconds);
            control.steer(error, seconds);
            for lead in [&mut self.video, &mut self.audio] {
                lead.control = control;
                lead.base = lead.base.map(|base| base + step_ms);
            }
        }
        (self.video.most, self.audio.most) = (None, None);
    }
}

impl Lead {
    /// The error of the track in this window; `None` until the intended lead is known, and without packets.
    fn error(&self) -> Option<i64> {
        Some(self.most? - self.base.filter(|_| self.windows >= SETTLING)?)
    }

    /// Fixes the intended lead of a track; `other_error` is the error of the other track. Returns no error.
    fn settle(&mut self, other_error: Option<i64>) -> Option<i64> {
        if let Some(most) = self.most.filter(|_| self.windows < SETTLING) {
            self.windows += 1;
            self.base = self.base.max(Some(most - other_error.unwrap_or(0)));
        }
        None
    }
}

impl Control {
    /// Takes the error of a window and decides whether it is corrected. Returns by how much the intended lead changed.
    fn judge(&mut self, error_ms: Option<i64>, seconds: f64) -> i64 {
        self.corrected_ms += self.rate * seconds * 1_000.0;
        let Some(error_ms) = error_ms else { return 0 };
        let newest_ms = self.recent_ms[0];
        self.recent_ms.rotate_right(1);
        let recent_ms = std::mem::replace(&mut self.recent_ms[0], error_ms);
        if !self.active {
            if error_ms.abs() <= TOLERATED_MS {
                (self.off_windows, self.before_ms) = (0, error_ms);
                return 0;
            }
            // The error of a fast or slow clock never changes its sign.
            if error_ms.signum() == -newest_ms.signum() {
                (self.off_windows, self.before_ms) = (0, 0);
            } else if newest_ms.abs() - error_ms.abs() > BACK_MS {
                self.off_windows = 0;
            }
            self.off_windows += 1;
            let now_ms = (error_ms - newest_ms).abs();
            let of_late_ms = (error_ms - recent_ms).abs().max(2 * now_ms);
            if self.is_step(error_ms, of_late_ms) {
                *self = Self { corrected_ms: self.corrected_ms, ..Self::default() };
                return error_ms;
            }
            let patience = if error_ms > 0 { AHEAD_WINDOWS } else { LATE_WINDOWS };
            let keeps_moving = error_ms.abs() >= recent_ms.abs()
                && 3 * now_ms * i64::from(self.off_windows) >= (error_ms - self.before_ms).abs();
            self.active = self.off_windows >= patience && keeps_moving;
        } else if error_ms.abs() <= CORRECTED_MS && self.integral.abs() <= CORRECTED_RATE {
            *self = Self { corrected_ms: self.corrected_ms, ..Self::default() };
        }
        0
    }

    /// Corrects the error of a window.
    fn steer(&mut self, error_ms: Option<i64>, seconds: f64) {
        let Some(error_ms) = error_ms.filter(|_| self.active) else { return };
        let error_s = error_ms as f64 / 1_000.0;
        self.integral = (self.integral - INTEGRAL * error_s * seconds).clamp(*RATES.start(), *RATES.end());
        self.rate = (self.integral - PROPORTIONAL * error_s).clamp(*RATES.start(), *RATES.end());
    }

    /// Whether media time made a single step and stays there. `of_late_ms` is its movement over the newest windows.
    fn is_step(&self, error_ms: i64, of_late_ms: i64) -> bool {
        let moved_ms = (error_ms - self.before_ms).abs();
        // Per window, it moved three times as fast as it does now.
        let (windows, of_late) = (i64::from(self.off_windows), i64::from(MOVING_WINDOWS));
        self.off_windows > MOVING_WINDOWS && moved_ms >= STEP_MS && 3 * of_late_ms * windows < moved_ms * of_late
    }
}
