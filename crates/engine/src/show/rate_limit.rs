//! How much a stream may send, and how long one that came too fast stays out.
//!
//! What counts is what arrives by our own clock: times on the wire are the encoder's to invent. An encoder that comes back
//! within seconds, as OBS does, would begin a new broadcast on every platform each time; so its key rests for a while.

use std::time::Duration;

use tokio::time::Instant;

use crate::{events::Excess, limits::Allowed};

/// So much of the allowed rate may come at once: what an encoder has saved up while its network was away.
const BURST: Duration = Duration::from_secs(10);
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

#[cfg(test)]
mod tests {

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
}
