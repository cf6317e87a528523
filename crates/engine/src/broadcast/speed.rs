//! Speed of the incoming media by the wall clock. Rates over media time look healthy even if the encoder or its network
//! achieves only half of real time.
//!
//! In each window, the packet with the least delay shows how far media time leads its arrival. The lead of a slow
//! encoder falls in window after window. Nothing else does that:
//!
//! ```text
//! bursts (segments, TCP slow start)                   the lead recovers in the next burst
//! a network outage followed by a catch-up             the lead recovers as well
//! an encoder that slept and continues where it was    the lead falls once
//! a clock that is a few percent slow                  below the threshold; corrected by the broadcast's clock
//! ```

use std::collections::VecDeque;

use gostream_proto::time::MainTrack;

/// Length of a window, in ms.
const WINDOW_MS: i64 = 3_000;
/// The speed covers this much time, in ms.
const SPAN_MS: i64 = 6 * WINDOW_MS;
/// With fewer windows that contain media, the speed is unknown: media comes in bursts.
const WINDOWS_MIN: usize = 5;
/// Below this share of real time an encoder is too slow. Clocks of real devices differ by less.
const SLOW: f64 = 0.90;
/// From this share of real time on, a slow encoder keeps up again.
const KEEPS_UP: f64 = 0.97;

/// Measures one encoder, from the first packet of its connection on.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    video: Lead,
    audio: Lead,
    share: Option<f64>,
    slow: bool,
    was_slow: bool,
}

/// The lead of a track over its arrival, window by window.
#[derive(Debug, Default)]
struct Lead {
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
    /// Counts a packet with time `source_ms` on the encoder's clock.
    pub(crate) fn count(&mut self, track: MainTrack, source_ms: i64, arrived_ms: i64) {
        let lead = match track {
            MainTrack::Video => &mut self.video,
            MainTrack::Audio => &mut self.audio,
        };
        if lead.count(Peak { arrived_ms, lead_ms: source_ms - arrived_ms }) {
            self.judge(arrived_ms);
        }
    }

    /// Media time relative to real time, in percent; `None` while unknown.
    pub(crate) fn percent(&self) -> Option<u32> {
        self.share.map(|share| (share * 100.0).round().max(0.0) as u32)
    }

    /// The same, while the encoder is too slow.
    pub(crate) fn slow_percent(&self) -> Option<u32> {
        self.percent().filter(|_| self.slow)
    }

    /// Whether a slow encoder explains a drift of times: then its clock may be right.
    pub(crate) fn explains_drift(&self) -> bool {
        self.was_slow
    }

    /// Another connection begins; measures from the beginning.
    pub(crate) fn restart(&mut self) {
        *self = Self { was_slow: self.was_slow, ..Self::default() };
    }

    fn judge(&mut self, now_ms: i64) {
        // A stopped track is ignored. Of two tracks, the faster one counts: a camera may be late for reasons of its
        // own.
        let tracks = [&self.video, &self.audio].into_iter().filter(|track| track.is_current(now_ms));
        let found: Vec<_> = tracks.map(Lead::share).collect();
        let (Some(best), true) = (found.iter().flatten().copied().reduce(f64::max), found.iter().all(Option::is_some))
        else {
            return;
        };
        self.share = Some(best);
        self.slow = if self.slow { best < KEEPS_UP } else { best < SLOW };
        self.was_slow |= self.slow;
    }
}

impl Lead {
    /// Returns whether a window ended.
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

    /// The share of real time over the windows; `None` for too few or ambiguous windows.
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

    /// Feeds both tracks with `source` of each arrival time, every 40 ms. Returns all reported slow percentages.
    fn reported(seconds: std::ops::Range<i64>, speed: &mut Speed, source: impl Fn(i64) -> Option<i64>) -> Vec<u32> {
        let mut reported = Vec::new();
        for arrived_ms in (seconds.start * 1_000..seconds.end * 1_000).step_by(40) {
            if let Some(source_ms) = source(arrived_ms) {
                speed.count(MainTrack::Video, source_ms, arrived_ms);
                speed.count(MainTrack::Audio, source_ms - 20, arrived_ms);
            }
            reported.extend(speed.slow_percent());
        }
        reported
    }

    #[test]
    fn slow_encoder_is_reported_and_cleared_when_it_keeps_up() {
        for percent in [20, 52, 85] {
            let mut speed = Speed::default();
            assert!(reported(0..14, &mut speed, |at| Some(at * percent / 100)).is_empty(), "a stream that just began");
            let slow = reported(14..60, &mut speed, |at| Some(at * percent / 100));
            assert!(slow.len() > 40 * 25, "reported for most of the time: {}", slow.len());
            assert!(slow.iter().all(|&percent_now| i64::from(percent_now).abs_diff(percent) <= 1), "{slow:?}");
            assert!(speed.explains_drift());
            let behind = 60_000 - 60_000 * percent / 100;
            reported(60..90, &mut speed, |at| Some(at - behind));
            assert_eq!((speed.slow_percent(), speed.percent()), (None, Some(100)));
        }
    }

    #[test]
    fn stop_and_go_network_is_measured_by_its_average() {
        let mut speed = Speed::default();
        // Two seconds of media arrive at once, every four seconds.
        let slow =
            reported(0..60, &mut speed, |at| Some(at.div_euclid(4_000) * 2_000 + (at.rem_euclid(4_000)).min(2_000)));
        assert!(!slow.is_empty() && slow.iter().all(|percent| (35..=65).contains(percent)), "{slow:?}");
    }

    /// Media time at each arrival time.
    type Source<'a> = &'a dyn Fn(i64) -> Option<i64>;

    #[test]
    fn encoder_that_keeps_up_is_not_slow() {
        let bursts =
            |period: i64| move |at: i64| (at.rem_euclid(period) < 400).then(|| at + at.rem_euclid(period) * 20);
        for period in [1_000, 2_000, 4_000, 5_000, 6_000, 10_000, 14_000] {
            assert!(reported(0..120, &mut Speed::default(), bursts(period)).is_empty(), "bursts every {period} ms");
        }
        let trickle = |at: i64| Some(at.div_euclid(10_000) * 10_000 + (at.rem_euclid(10_000) * 2).min(10_000));
        let sources: [(&str, Source); 6] = [
            ("steady", &Some),
            ("a clock that is 5 % slow", &|at| Some(at * 95 / 100)),
            ("segments sent at twice real time", &trickle),
            ("an encoder that slept for 8 s", &|at| {
                (!(30_000..38_000).contains(&at)).then_some(if at < 30_000 { at } else { at - 8_000 })
            }),
            ("a network outage of 7 s, then a catch-up", &|at| {
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
            assert!(reported(0..120, &mut speed, source).is_empty() && !speed.explains_drift(), "{name}");
        }
    }

    #[test]
    fn faster_track_counts_and_stopped_track_is_ignored() {
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
