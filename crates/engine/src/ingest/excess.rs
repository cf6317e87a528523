//! How much a stream may send, and how long one that came too fast stays out.
//!
//! What counts is what arrives by our own clock: times on the wire are the encoder's to invent. An encoder that comes back
//! within seconds, as OBS does, would begin a new broadcast on every platform each time; so its key rests for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::ProjectId;

/// So much of the allowed rate may come at once: what an encoder has saved up while its network was away.
const BURST: Duration = Duration::from_secs(10);
/// How long a key rests after the first time. OBS tries six times within it, and each try shows why not.
const REST: Duration = Duration::from_secs(60);
/// With each time it doubles, up to this many times: half an hour.
const DOUBLINGS_MAX: u32 = 5;
/// After so long without another time it is forgotten.
const FORGET: Duration = Duration::from_secs(3_600);

/// What a stream may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// In kbit/s; `None` for any bitrate.
    pub(crate) kbps: Option<u32>,
    /// Messages a second: each costs memory and time, however short it is.
    pub(crate) messages: u32,
}

/// What a stream sent too much of, and what it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Bits.
    #[error("more than {allowed_kbps} kbit/s came")]
    Bitrate {
        /// In kbit/s.
        allowed_kbps: u32,
    },
    /// Messages, of any length.
    #[error("more than {allowed_per_second} messages a second came")]
    Messages {
        /// A second.
        allowed_per_second: u32,
    },
}

/// Measures one stream.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    bits: Bucket,
    messages: Bucket,
}

/// A leaky bucket: what arrives fills it, the allowed rate empties it. Twice the rate fills it in ten seconds, a tenth
/// too much in a hundred, and a jam that dissolves does not fill it at all.
#[derive(Debug, Default)]
struct Bucket {
    level: u64,
    at: Option<Instant>,
}

impl Pace {
    /// Counts a message of media. Gives an excess.
    pub(crate) fn count_message(&mut self, allowed: Allowed, now: Instant) -> Option<Excess> {
        // In thousandths: as many of them are allowed a millisecond as messages a second.
        let allowed_per_second = allowed.messages;
        self.messages
            .overflows(1_000, allowed_per_second, now)
            .then_some(Excess::Messages { allowed_per_second })
    }

    /// Counts bytes on the wire, of whatever: what is not media costs as well. Gives an excess.
    pub(crate) fn count_bytes(&mut self, allowed: Allowed, bytes: u64, now: Instant) -> Option<Excess> {
        // Kilobits per second are bits per millisecond.
        let allowed_kbps = allowed.kbps?;
        self.bits.overflows(bytes * 8, allowed_kbps, now).then_some(Excess::Bitrate { allowed_kbps })
    }
}

impl Bucket {
    fn overflows(&mut self, amount: u64, per_ms: u32, now: Instant) -> bool {
        let (per_ms, before) = (u64::from(per_ms), self.at.unwrap_or(now));
        // Parts of a millisecond are left for the next time.
        let ms = (now - before).as_millis() as u64;
        self.at = Some(before + Duration::from_millis(ms));
        self.level = self.level.saturating_sub(ms.saturating_mul(per_ms)).saturating_add(amount);
        self.level > per_ms * BURST.as_millis() as u64
    }
}

/// The projects whose key rests.
#[derive(Debug, Default)]
pub(crate) struct Resting(Mutex<HashMap<ProjectId, Rest>>);

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    times: u32,
}

impl Resting {
    /// The project's stream came too fast.
    pub(crate) fn begin(&self, project: ProjectId, now: Instant) {
        let mut resting = self.lock();
        resting.retain(|_, rest| now < rest.until + FORGET);
        let times = resting.get(&project).map_or(0, |rest| rest.times);
        let until = now + REST * (1 << times.min(DOUBLINGS_MAX));
        resting.insert(project, Rest { until, times: times + 1 });
    }

    /// How long the project's key still rests, if it does.
    pub(crate) fn left(&self, project: ProjectId, now: Instant) -> Option<Duration> {
        let until = self.lock().get(&project)?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A poisoned lock still guards a whole map.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// How long a stream of that rate lasts within an hour, in tenths of a second, if it ends.
    fn lasts(sent_kbps: u64, allowed_kbps: u32) -> Option<u64> {
        let began = Instant::now();
        let mut pace = Pace::default();
        let tenth = sent_kbps * 100 / 8;
        let allowed = kbps(allowed_kbps);
        (0..36_000).find(|n| pace.count_bytes(allowed, tenth, began + Duration::from_millis(100 * n)).is_some())
    }

    fn kbps(kbps: u32) -> Allowed {
        Allowed { kbps: Some(kbps), messages: 1_000 }
    }

    #[test]
    fn the_faster_a_stream_comes_the_sooner_it_ends() {
        assert_eq!(lasts(1_000, 1_000), None);
        assert_eq!(lasts(2_000, 1_000), Some(99));
        assert_eq!(lasts(1_100, 1_000), Some(990));
        assert_eq!(lasts(11_000, 1_000), Some(9));
    }

    #[test]
    fn what_a_jam_held_back_may_come_at_once() {
        let began = Instant::now();
        let mut pace = Pace::default();
        // Ten seconds at the full rate of 1 MB/s, after as long without a byte.
        let mut excess = |bytes, seconds| pace.count_bytes(kbps(8_000), bytes, began + Duration::from_secs(seconds));
        assert_eq!(excess(1_000, 0), None);
        assert_eq!(excess(10_000_000, 10), None);
        assert_eq!(excess(1_000, 10), Some(Excess::Bitrate { allowed_kbps: 8_000 }));
        assert_eq!(excess(0, 11), None, "and it drains");
    }

    #[test]
    fn messages_count_however_short_they_are() {
        let began = Instant::now();
        for allowed_kbps in [Some(8_000), None] {
            let allowed = Allowed { kbps: allowed_kbps, messages: 1_000 };
            let lasts = |per_second: u64| {
                let mut pace = Pace::default();
                let at = |n: u64| began + Duration::from_micros(n * 1_000_000 / per_second);
                (0..60 * per_second).find(|&n| pace.count_message(allowed, at(n)).is_some()).map(|n| n / per_second)
            };
            assert_eq!((lasts(300), lasts(1_000)), (None, None));
            assert_eq!((lasts(2_000), lasts(100_000)), (Some(9), Some(0)));
        }
    }

    #[test]
    fn a_key_rests_longer_each_time_and_it_is_forgotten() {
        let (resting, project, began) = (Resting::default(), ProjectId(Uuid::nil()), Instant::now());
        assert_eq!(resting.left(project, began), None);
        let mut now = began;
        for minutes in [1, 2, 4, 8, 16, 32, 32] {
            resting.begin(project, now);
            assert_eq!(resting.left(project, now), Some(Duration::from_secs(60 * minutes)));
            now += Duration::from_secs(60 * minutes);
            assert_eq!(resting.left(project, now), None);
        }
        resting.begin(project, now + FORGET);
        assert_eq!(resting.left(project, now + FORGET), Some(REST));
        assert_eq!(resting.left(ProjectId(Uuid::from_u128(1)), now), None, "others are let in");
    }
}
