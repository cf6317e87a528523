//! Holding media time against the time of arrival: an encoder whose clock runs a few percent fast or slow would be minutes
//! away from its viewers after an hour.
//!
//! Every two seconds the packet with the least delay says where media time is. When it keeps moving away from where it
//! began by more than what networks do, times are stretched or squeezed, both tracks alike, until they are back. A
//! controller with a proportional and an integral part follows a constant drift without an error that stays.
//!
//! ```text
//! times leave where they began, and         it is                                       done
//! come back within half a minute            a network that was narrow                   nothing
//! stay where they are then                  an encoder that slept, or had to catch up   that is where they should be
//! go on                                     a clock that is fast or slow                healed
//! ```

use super::elementary::Elementary;

/// How long packets are collected before the one with the least delay is judged.
const WINDOW_MS: i64 = 2_000;
/// Windows in which a stream finds its place: encoders, and servers that are pulled from, begin with a burst.
const SETTLING: u32 = 2;
/// Media time further away than this is healed.
const TOLERATED_MS: i64 = 300;
/// For this number of windows media time has to be ahead, or late: a network makes up for a delay, a slow clock does not.
const AHEAD_WINDOWS: u32 = 8;
const LATE_WINDOWS: u32 = 15;
/// Over this number of windows it is seen whether media time still moves.
const MOVING_WINDOWS: u32 = 4;
/// Times that moved by this, most of it before those windows, made one step.
const STEP_MS: i64 = 150;
/// Times that came back by this are not those of a fast or slow clock: more than jitter.
const BACK_MS: i64 = 150;
/// A window that lasts longer, since nothing came, counts as this.
const SECONDS_MAX: f64 = 2.0 * WINDOW_MS as f64 / 1_000.0;
/// Nearer than this the healing ends, if the clock is right by then.
const HEALED_MS: i64 = 30;
const HEALED_RATE: f64 = 0.002;
/// The tracks are healed alike unless they are further apart than this, and then until they are as near as that.
const APART_MS: i64 = 250;
const TOGETHER_MS: i64 = 30;
/// The controller per second of error, critically damped: it is back within some ten seconds.
const PROPORTIONAL: f64 = 0.15;
const INTEGRAL: f64 = PROPORTIONAL * PROPORTIONAL / 4.0;
/// Times are stretched up to threefold and squeezed down to a third, never turned back.
const RATES: std::ops::RangeInclusive<f64> = -0.67..=2.0;
/// A healing of this much is told.
const TOLD_MS: f64 = 1_000.0;
/// Tracks that are further apart than this are told.
const SKEW_TOLD_MS: i64 = 500;

#[derive(Clone, Debug, Default)]
pub(super) struct Healing {
    /// When the window began.
    began_ms: Option<i64>,
    video: Lead,
    audio: Lead,
    /// The tracks moved away from each other, so each is healed by itself.
    apart: bool,
    skew_ms: Option<i64>,
}

/// How far the times of a track are ahead of its arrivals, in ms, and what is done about it.
#[derive(Clone, Debug, Default)]
struct Lead {
    /// The most in this window.
    most: Option<i64>,
    /// The most in the settling windows: what it should be.
    base: Option<i64>,
    windows: u32,
    control: Control,
}

/// What is done about an error.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    /// For how many windows media time has been too far away.
    away: u32,
    /// Where it was before, in ms.
    before_ms: i64,
    /// The newest errors, in ms, newest first.
    recent_ms: [i64; MOVING_WINDOWS as usize],
    heals: bool,
    integral: f64,
    /// What is added to each millisecond.
    rate: f64,
    /// What was healed, in ms.
    healed_ms: f64,
}

impl Healing {
    /// How much is added to each millisecond of a track.
    pub(super) fn rate(&self, track: Elementary) -> f64 {
        match track {
            Elementary::Video => self.video.control.rate,
            Elementary::Audio => self.audio.control.rate,
        }
    }

    /// Counts a packet whose time is `lead_ms` ahead of its arrival. Says whether something was judged.
    pub(super) fn count(&mut self, track: Elementary, lead_ms: i64, arrived_ms: i64) -> bool {
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

    /// An encoder returned: how far the times of a track are ahead of its arrivals when all is well is known.
    pub(super) fn resume(&mut self, track: Elementary, base_ms: i64) {
        let lead = self.lead(track);
        (lead.base, lead.windows) = (Some(base_ms), SETTLING);
    }

    /// How far the times of a track are ahead of its arrivals when all is well.
    pub(super) fn base_ms(&self, track: Elementary) -> Option<i64> {
        match track {
            Elementary::Video => self.video.base,
            Elementary::Audio => self.audio.base,
        }
    }

    fn lead(&mut self, track: Elementary) -> &mut Lead {
        match track {
            Elementary::Video => &mut self.video,
            Elementary::Audio => &mut self.audio,
        }
    }

    /// How much later pictures arrive than the sound of the same moment, if that is worth telling.
    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// How much faster than arrivals the encoder's clock runs, in percent, once that made a second.
    pub(super) fn drift_percent(&self) -> Option<f64> {
        let (video, audio) = (&self.video.control, &self.audio.control);
        let most = if video.healed_ms.abs() >= audio.healed_ms.abs() { video } else { audio };
        let told = most.healed_ms.abs() >= TOLD_MS && most.integral.abs() > HEALED_RATE;
        told.then(|| -100.0 * most.integral / (1.0 + most.integral))
    }

    fn judge(&mut self, seconds: f64) {
        if let (Some(video), Some(audio)) = (self.video.most, self.audio.most) {
            self.skew_ms = Some(audio - video).filter(|skew| skew.abs() >= SKEW_TOLD_MS);
        }
        let seconds = seconds.min(SECONDS_MAX);
        let errors = (self.video.error(), self.audio.error());
        let errors =
            (errors.0.or_else(|| self.video.settle(errors.1)), errors.1.or_else(|| self.audio.settle(errors.0)));
        if let (Some(video), Some(audio)) = errors {
            let was_apart = self.apart;
            self.apart = (video - audio).abs() > if was_apart { TOGETHER_MS } else { APART_MS };
            if was_apart && !self.apart {
                self.audio.control = self.video.control;
            }
        }
        if self.apart {
            let mut leads = [(&mut self.video, errors.0), (&mut self.audio, errors.1)];
            for (lead, error) in &mut leads {
                let step_ms = lead.control.judge(*error, seconds);
                lead.base = lead.base.map(|base| base + step_ms);
            }
            // Two tracks that go the same way have one clock: one that is healed alone moves away from the other.
            let heals = leads.iter().find(|(lead, _)| lead.control.heals).and_then(|&(_, error)| error);
            for (lead, error) in leads {
                let goes_along = heals.zip(error).is_some_and(|(other, own)| other.signum() == own.signum());
                lead.control.heals |= goes_along && error.is_some_and(|error| error.abs() > TOLERATED_MS);
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
    /// How far the track is from where it should be; `None` while that is not known, and when nothing came.
    fn error(&self) -> Option<i64> {
        Some(self.most? - self.base.filter(|_| self.windows >= SETTLING)?)
    }

    /// Finds out where a track should be; `beside` is the error of the other one. Gives no error.
    fn settle(&mut self, beside: Option<i64>) -> Option<i64> {
        if let Some(most) = self.most.filter(|_| self.windows < SETTLING) {
            self.windows += 1;
            self.base = self.base.max(Some(most - beside.unwrap_or(0)));
        }
        None
    }
}

impl Control {
    /// Takes the error of a window, and decides whether it is healed. Gives by how much it changed for good.
    fn judge(&mut self, error_ms: Option<i64>, seconds: f64) -> i64 {
        self.healed_ms += self.rate * seconds * 1_000.0;
        let Some(error_ms) = error_ms else { return 0 };
        let newest_ms = self.recent_ms[0];
        self.recent_ms.rotate_right(1);
        let recent_ms = std::mem::replace(&mut self.recent_ms[0], error_ms);
        if !self.heals {
            if error_ms.abs() <= TOLERATED_MS {
                (self.away, self.before_ms) = (0, error_ms);
                return 0;
            }
            // A clock that is fast or slow never comes back.
            if error_ms.signum() == -newest_ms.signum() {
                (self.away, self.before_ms) = (0, 0);
            } else if newest_ms.abs() - error_ms.abs() > BACK_MS {
                self.away = 0;
            }
            self.away += 1;
            let now_ms = (error_ms - newest_ms).abs();
            let of_late_ms = (error_ms - recent_ms).abs().max(2 * now_ms);
            if self.is_step(error_ms, of_late_ms) {
                *self = Self { healed_ms: self.healed_ms, ..Self::default() };
                return error_ms;
            }
            let patience = if error_ms > 0 { AHEAD_WINDOWS } else { LATE_WINDOWS };
            let goes_on = error_ms.abs() >= recent_ms.abs()
                && 3 * now_ms * i64::from(self.away) >= (error_ms - self.before_ms).abs();
            self.heals = self.away >= patience && goes_on;
        } else if error_ms.abs() <= HEALED_MS && self.integral.abs() <= HEALED_RATE {
            *self = Self { healed_ms: self.healed_ms, ..Self::default() };
        }
        0
    }

    /// Heals the error of a window.
    fn steer(&mut self, error_ms: Option<i64>, seconds: f64) {
        let Some(error_ms) = error_ms.filter(|_| self.heals) else { return };
        let error_s = error_ms as f64 / 1_000.0;
        self.integral = (self.integral - INTEGRAL * error_s * seconds).clamp(*RATES.start(), *RATES.end());
        self.rate = (self.integral - PROPORTIONAL * error_s).clamp(*RATES.start(), *RATES.end());
    }

    /// Whether media time made one step and stays there. `of_late_ms` is how much it moved over the newest windows.
    fn is_step(&self, error_ms: i64, of_late_ms: i64) -> bool {
        let moved_ms = (error_ms - self.before_ms).abs();
        // By window, it moved three times as fast as it does now.
        let (windows, of_late) = (i64::from(self.away), i64::from(MOVING_WINDOWS));
        self.away > MOVING_WINDOWS && moved_ms >= STEP_MS && 3 * of_late_ms * windows < moved_ms * of_late
    }
}
