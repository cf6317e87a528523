//! How fast media comes by the wall clock. Rates over media time look healthy when an encoder, or its line, manages half of
//! real time.
//!
//! In each window the packet with the least delay says how far media is ahead of its arrival. An encoder that is too slow loses
//! ground in window after window. Nothing else does:
//!
//! ```text
//! bursts (segments, a slow start of the connection)   the ground is won back in the next burst
//! a line that stood still, and catches up             won back as well
//! an encoder that slept, and goes on where it was     lost at once, and not again
//! a clock that is a few percent slow                  less than is called slow; the clock of the broadcast heals it
//! ```

use std::collections::VecDeque;

use gostream_proto::time::MainTrack;

/// How long packets are collected before the one with the least delay is taken.
const WINDOW_MS: i64 = 3_000;
/// Speed is over this much time.
const SPAN_MS: i64 = 6 * WINDOW_MS;
/// Fewer windows with media than this say nothing: it comes in bursts.
const WINDOWS_MIN: usize = 5;
/// Below this share of real time an encoder is too slow. The clocks of devices that are used differ by less.
const SLOW: f64 = 0.90;
/// From this share on it keeps up again.
const KEEPS_UP: f64 = 0.97;

/// Measures an encoder, from the first packet of its connection on.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    video: Ground,
    audio: Ground,
    share: Option<f64>,
    slow: bool,
    was_slow: bool,
}

/// How far a track was ahead of its arrival, window by window.
#[derive(Debug, Default)]
struct Ground {
    peaks: VecDeque<Peak>,
    open: Option<Peak>,
}

/// The packet of a window with the least delay.
#[derive(Clone, Copy, Debug)]
struct Peak {
    arrived_ms: i64,
    lead_ms: i64,
}

impl Speed {
    /// Counts a packet that is at `source_ms` by the encoder's clock.
    pub(crate) fn count(&mut self, track: MainTrack, source_ms: i64, arrived_ms: i64) {
        let ground = match track {
            MainTrack::Video => &mut self.video,
            MainTrack::Audio => &mut self.audio,
        };
        if ground.count(Peak { arrived_ms, lead_ms: source_ms - arrived_ms }) {
            self.judge(arrived_ms);
        }
    }

    /// The share of real time that comes, in percent; `None` while that is not known.
    pub(crate) fn percent(&self) -> Option<u32> {
        self.share.map(|share| (share * 100.0).round().max(0.0) as u32)
    }

    /// The same, while it is too little.
    pub(crate) fn slow_percent(&self) -> Option<u32> {
        self.percent().filter(|_| self.slow)
    }

    /// Whether times that moved away from their arrival are explained by a slow encoder: nothing is known of its clock then.
    pub(crate) fn explains_drift(&self) -> bool {
        self.was_slow
    }

    /// Another connection begins: what came before says nothing of it.
    pub(crate) fn restart(&mut self) {
        *self = Self { was_slow: self.was_slow, ..Self::default() };
    }

    fn judge(&mut self, now_ms: i64) {
        // A track that has stopped says nothing; of two, the better one counts: a camera may be late for reasons of its own.
        let tracks = [&self.video, &self.audio].into_iter().filter(|track| track.is_current(now_ms));
        let found: Vec<_> = tracks.map(Ground::share).collect();
        let (Some(best), true) = (found.iter().flatten().copied().reduce(f64::max), found.iter().all(Option::is_some))
        else {
            return;
        };
        self.share = Some(best);
        self.slow = if self.slow { best < KEEPS_UP } else { best < SLOW };
        self.was_slow |= self.slow;
    }
}

impl Ground {
    /// Says whether a window is over.
    fn count(&mut self, peak: Peak) -> bool {
        let window = |peak: Peak| peak.arrived_ms.div_euclid(WINDOW_MS);
        match &mut self.open {
            Some(open) if window(*open) == window(peak) => {
                if peak.lead_ms > open.lead_ms {
                    *open = peak;
                }
                false
            }
            open => {
                self.peaks.extend(open.replace(peak));
                self.peaks.retain(|old| peak.arrived_ms - old.arrived_ms <= SPAN_MS + WINDOW_MS);
                true
            }
        }
    }

    fn is_current(&self, now_ms: i64) -> bool {
        self.open.is_some_and(|open| now_ms - open.arrived_ms <= 2 * WINDOW_MS)
    }

    /// The share of real time over the windows; `None` for too few of them, or when they do not tell.
    fn share(&self) -> Option<f64> {
        let (first, last) = (self.peaks.front()?, self.peaks.back()?);
        if self.peaks.len() < WINDOWS_MIN {
            return None;
        }
        let (mut lost_ms, mut won_ms, mut most_ms) = (0, 0, 0);
        for (before, after) in self.peaks.iter().zip(self.peaks.iter().skip(1)) {
            let step_ms = after.lead_ms - before.lead_ms;
            lost_ms += (-step_ms).max(0);
            won_ms += step_ms.max(0);
            most_ms = most_ms.max(-step_ms);
        }
        let share = 1.0 + (last.lead_ms - first.lead_ms) as f64 / (last.arrived_ms - first.arrived_ms) as f64;
        let is_steady = 4 * won_ms <= lost_ms && 5 * most_ms <= 3 * lost_ms;
        (share >= SLOW || is_steady).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds both tracks with what `source` says for each moment of arrival, every 40 ms, and gives what was told when.
    fn told(seconds: std::ops::Range<i64>, speed: &mut Speed, source: impl Fn(i64) -> Option<i64>) -> Vec<u32> {
        let mut told = Vec::new();
        for arrived_ms in (seconds.start * 1_000..seconds.end * 1_000).step_by(40) {
            if let Some(source_ms) = source(arrived_ms) {
                speed.count(MainTrack::Video, source_ms, arrived_ms);
                speed.count(MainTrack::Audio, source_ms - 20, arrived_ms);
            }
            told.extend(speed.slow_percent());
        }
        told
    }

    #[test]
    fn half_of_real_time_is_said_soon_and_is_over_when_it_is() {
        for percent in [20, 52, 85] {
            let mut speed = Speed::default();
            assert!(told(0..14, &mut speed, |at| Some(at * percent / 100)).is_empty(), "a stream that just began");
            let slow = told(14..60, &mut speed, |at| Some(at * percent / 100));
            assert!(slow.len() > 40 * 25, "said for most of the time: {}", slow.len());
            assert!(slow.iter().all(|&told| i64::from(told).abs_diff(percent) <= 1), "{slow:?}");
            assert!(speed.explains_drift());
            let behind = 60_000 - 60_000 * percent / 100;
            told(60..90, &mut speed, |at| Some(at - behind));
            assert_eq!((speed.slow_percent(), speed.percent()), (None, Some(100)));
        }
    }

    #[test]
    fn a_line_that_stops_and_goes_is_as_slow_as_it_is_together() {
        let mut speed = Speed::default();
        // Two seconds of media come at once, every four.
        let slow = told(0..60, &mut speed, |at| Some(at.div_euclid(4_000) * 2_000 + (at.rem_euclid(4_000)).min(2_000)));
        assert!(!slow.is_empty() && slow.iter().all(|percent| (35..=65).contains(percent)), "{slow:?}");
    }

    /// What comes at each moment of arrival.
    type Source<'a> = &'a dyn Fn(i64) -> Option<i64>;

    #[test]
    fn an_encoder_that_keeps_up_is_not_called_slow() {
        let bursts =
            |period: i64| move |at: i64| (at.rem_euclid(period) < 400).then(|| at + at.rem_euclid(period) * 20);
        for period in [1_000, 2_000, 4_000, 5_000, 6_000, 10_000, 14_000] {
            assert!(told(0..120, &mut Speed::default(), bursts(period)).is_empty(), "bursts every {period} ms");
        }
        let trickle = |at: i64| Some(at.div_euclid(10_000) * 10_000 + (at.rem_euclid(10_000) * 2).min(10_000));
        let sources: [(&str, Source); 6] = [
            ("steady", &Some),
            ("a clock that is 5 % slow", &|at| Some(at * 95 / 100)),
            ("segments sent at twice their speed", &trickle),
            ("an encoder that slept for 8 s", &|at| {
                (!(30_000..38_000).contains(&at)).then_some(if at < 30_000 { at } else { at - 8_000 })
            }),
            ("a line that was away for 7 s, and catches up", &|at| {
                (!(30_000..37_000).contains(&at)).then_some(if at < 37_000 {
                    at
                } else {
                    at.min(30_000 + (at - 37_000) * 3)
                })
            }),
            ("four seconds at once, at the beginning", &|at| Some(if at < 1_000 { at * 5 } else { at + 4_000 })),
        ];
        for (name, source) in sources {
            let mut speed = Speed::default();
            assert!(told(0..120, &mut speed, source).is_empty() && !speed.explains_drift(), "{name}");
        }
    }

    #[test]
    fn one_track_that_keeps_up_is_enough_and_one_that_stopped_says_nothing() {
        let mut speed = Speed::default();
        for at in (0..60_000).step_by(40) {
            speed.count(MainTrack::Video, at / 2, at);
            speed.count(MainTrack::Audio, at, at);
        }
        assert_eq!(speed.slow_percent(), None);
        let slow_from = 60_000;
        for at in (slow_from..120_000).step_by(40) {
            speed.count(MainTrack::Video, at / 2, at);
        }
        assert_eq!(speed.slow_percent(), Some(50));
        speed.restart();
        assert_eq!((speed.slow_percent(), speed.percent()), (None, None));
    }
}
