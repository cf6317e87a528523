//! Holding media time against the time of arrival: an encoder whose clock runs a few percent fast or slow would be minutes
//! away from its viewers after an hour.
//!
//! Every two seconds the packet with the least delay says where media time is. When it left where it began by more than
//! what networks do, times are stretched or squeezed, both tracks alike, until they are back. A controller with a
//! proportional and an integral part follows a constant drift without an error that stays.

use super::Elementary;

/// How long packets are collected before the one with the least delay is judged.
const WINDOW_MS: i64 = 2_000;
/// Windows in which a stream finds its place: encoders, and servers that are pulled from, begin with a burst.
const SETTLING: u32 = 2;
/// Media time further away than this is healed.
const TOLERATED_MS: i64 = 200;
/// A delay has to last for so many windows: a network that stalls makes up for it, a slow clock does not.
const DELAYED_WINDOWS: u32 = 2;
/// Times are stretched by so much more with each window that a delay lasts.
const STRETCH_PER_WINDOW: f64 = 0.1;
/// Nearer than this the healing ends, if the clock is right by then.
const HEALED_MS: i64 = 30;
const HEALED_RATE: f64 = 0.002;
/// The tracks are healed alike if they are away by the same, give or take this.
const ALIKE_MS: i64 = 250;
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
    delayed: u32,
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
            Elementary::Video => self.video.rate,
            Elementary::Audio => self.audio.rate,
        }
    }

    /// Counts a packet whose time is `lead_ms` ahead of its arrival. Says whether something was judged.
    pub(super) fn count(&mut self, track: Elementary, lead_ms: i64, arrived_ms: i64) -> bool {
        let began_ms = *self.began_ms.get_or_insert(arrived_ms);
        let is_over = arrived_ms - began_ms >= WINDOW_MS;
        if is_over {
            self.began_ms = Some(arrived_ms);
            self.judge();
        }
        let lead = match track {
            Elementary::Video => &mut self.video,
            Elementary::Audio => &mut self.audio,
        };
        lead.most = lead.most.max(Some(lead_ms));
        is_over
    }

    /// An encoder returned: how far the times of a track are ahead of its arrivals when all is well is known.
    pub(super) fn resume(&mut self, track: Elementary, base_ms: i64) {
        let lead = match track {
            Elementary::Video => &mut self.video,
            Elementary::Audio => &mut self.audio,
        };
        (lead.base, lead.windows) = (Some(base_ms), SETTLING);
    }

    /// How far the times of a track are ahead of its arrivals when all is well.
    pub(super) fn base_ms(&self, track: Elementary) -> Option<i64> {
        match track {
            Elementary::Video => self.video.base,
            Elementary::Audio => self.audio.base,
        }
    }

    /// How much later pictures arrive than the sound of the same moment, if that is worth telling.
    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// How much faster than arrivals the encoder's clock runs, in percent, once that made a second.
    pub(super) fn drift_percent(&self) -> Option<f64> {
        let lead = if self.video.healed_ms.abs() >= self.audio.healed_ms.abs() { &self.video } else { &self.audio };
        let told = lead.healed_ms.abs() >= TOLD_MS && lead.integral.abs() > HEALED_RATE;
        told.then(|| -100.0 * lead.integral / (1.0 + lead.integral))
    }

    fn judge(&mut self) {
        if let (Some(video), Some(audio)) = (self.video.most, self.audio.most) {
            self.skew_ms = Some(audio - video).filter(|skew| skew.abs() >= SKEW_TOLD_MS);
        }
        let errors = [self.video.error(), self.audio.error()];
        let errors = match errors {
            [Some(video), Some(audio)] if (video - audio).abs() <= ALIKE_MS => {
                self.follow_the_steadier();
                [Some((video + audio) / 2); 2]
            }
            apart => apart,
        };
        let silent = [self.video.most.is_none(), self.audio.most.is_none()];
        for (lead, error) in [&mut self.video, &mut self.audio].into_iter().zip(errors) {
            lead.heal(error);
            lead.most = None;
        }
        // A track that is silent comes back into what the other is healed by.
        match silent {
            [true, false] => self.video.rate = self.audio.rate,
            [false, true] => self.audio.rate = self.video.rate,
            _ => {}
        }
    }

    /// Tracks that are healed alike are so by one controller: that of the track that was judged more often.
    fn follow_the_steadier(&mut self) {
        let Self { video, audio, .. } = self;
        let (from, to) = if video.windows >= audio.windows { (video, audio) } else { (audio, video) };
        (to.heals, to.integral, to.delayed) = (from.heals, from.integral, from.delayed);
    }
}

impl Lead {
    /// How far the track is from where it should be; `None` while that is not known, and when nothing came.
    fn error(&mut self) -> Option<i64> {
        let most = self.most?;
        self.windows += 1;
        if self.windows <= SETTLING {
            self.base = self.base.max(Some(most));
            return None;
        }
        Some(most - self.base?)
    }

    fn heal(&mut self, error: Option<i64>) {
        const SECONDS: f64 = WINDOW_MS as f64 / 1_000.0;
        self.healed_ms += self.rate * SECONDS * 1_000.0;
        let Some(error_ms) = error else { return };
        self.delayed = if error_ms < -TOLERATED_MS { self.delayed + 1 } else { 0 };
        if error_ms > TOLERATED_MS || self.delayed >= DELAYED_WINDOWS {
            self.heals = true;
        } else if error_ms.abs() <= HEALED_MS && self.integral.abs() <= HEALED_RATE {
            (self.heals, self.integral) = (false, 0.0);
        }
        if !self.heals {
            self.rate = 0.0;
            return;
        }
        let error_s = error_ms as f64 / 1_000.0;
        self.integral = (self.integral - INTEGRAL * error_s * SECONDS).clamp(*RATES.start(), *RATES.end());
        let most = if self.delayed > 0 { STRETCH_PER_WINDOW * f64::from(self.delayed) } else { *RATES.end() };
        let wanted = self.integral - PROPORTIONAL * error_s;
        self.rate = wanted.min(most.max(self.integral)).clamp(*RATES.start(), *RATES.end());
    }
}
