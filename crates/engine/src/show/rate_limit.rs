//! The ingest limits of a stream.
//!
//! Rates are measured by arrival, because encoders can invent timestamps.

use std::time::Duration;

use tokio::time::Instant;

use crate::{events::Excess, limits::Allowed};

/// A stream may send this much of the allowed rate at once: what an encoder buffered while its network was down.
const BURST: Duration = Duration::from_secs(10);
/// Measures one stream.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    bits: Bucket,
    messages: Bucket,
}

/// A leaky bucket: arrivals fill it, the allowed rate drains it. Twice the rate overflows it after ten seconds, 110 %
/// after a hundred; data that was delayed on the network does not overflow it.
#[derive(Debug, Default)]
struct Bucket {
    level: u64,
    at: Option<Instant>,
}

impl RateLimit {
    /// Counts a media message; returns an excess, if any.
    pub(crate) fn count_message(&mut self, allowed: Allowed, now: Instant) -> Option<Excess> {
        // In thousandths of a message, so that the allowed messages per second equal the drain per millisecond.
        let allowed_per_second = allowed.messages;
        self.messages
            .overflows(1_000, allowed_per_second, now)
            .then_some(Excess::Messages { allowed_per_second })
    }

    /// Counts received bytes, media or not; returns an excess, if any.
    pub(crate) fn count_bytes(&mut self, allowed: Allowed, bytes: u64, now: Instant) -> Option<Excess> {
        // Kilobits per second are bits per millisecond.
        let allowed_kbps = allowed.kbps?;
        self.bits.overflows(bytes * 8, allowed_kbps, now).then_some(Excess::Bitrate { allowed_kbps })
    }
}

impl Bucket {
    fn overflows(&mut self, amount: u64, per_ms: u32, now: Instant) -> bool {
        let (per_ms, before) = (u64::from(per_ms), self.at.unwrap_or(now));
        // Fractions of a millisecond are counted next time.
        let ms = (now - before).as_millis() as u64;
        self.at = Some(before + Duration::from_millis(ms));
        self.level = self.level.saturating_sub(ms.saturating_mul(per_ms)).saturating_add(amount);
        self.level > per_ms * BURST.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// How long a stream of that bitrate lasts within an hour, in tenths of a second, if it ends.
    fn lasts(sent_kbps: u64, allowed_kbps: u32) -> Option<u64> {
        let began = Instant::now();
        let mut rate_limit = RateLimit::default();
        let tenth = sent_kbps * 100 / 8;
        let allowed = kbps(allowed_kbps);
        (0..36_000).find(|n| rate_limit.count_bytes(allowed, tenth, began + Duration::from_millis(100 * n)).is_some())
    }

    fn kbps(kbps: u32) -> Allowed {
        Allowed { kbps: Some(kbps), messages: 1_000 }
    }

    #[test]
    fn faster_streams_end_sooner() {
        assert_eq!(lasts(1_000, 1_000), None);
        assert_eq!(lasts(2_000, 1_000), Some(99));
        assert_eq!(lasts(1_100, 1_000), Some(990));
        assert_eq!(lasts(11_000, 1_000), Some(9));
    }

    #[test]
    fn data_delayed_on_the_network_may_arrive_at_once() {
        let began = Instant::now();
        let mut rate_limit = RateLimit::default();
        // Ten seconds at the full rate of 1 MB/s, after ten seconds without a byte.
        let mut excess =
            |bytes, seconds| rate_limit.count_bytes(kbps(8_000), bytes, began + Duration::from_secs(seconds));
        assert_eq!(excess(1_000, 0), None);
        assert_eq!(excess(10_000_000, 10), None);
        assert_eq!(excess(1_000, 10), Some(Excess::Bitrate { allowed_kbps: 8_000 }));
        assert_eq!(excess(0, 11), None, "the bucket drains");
    }

    #[test]
    fn messages_are_counted_whatever_their_size() {
        let began = Instant::now();
        for allowed_kbps in [Some(8_000), None] {
            let allowed = Allowed { kbps: allowed_kbps, messages: 1_000 };
            let lasts = |per_second: u64| {
                let mut rate_limit = RateLimit::default();
                let at = |n: u64| began + Duration::from_micros(n * 1_000_000 / per_second);
                (0..60 * per_second)
                    .find(|&n| rate_limit.count_message(allowed, at(n)).is_some())
                    .map(|n| n / per_second)
            };
            assert_eq!((lasts(300), lasts(1_000)), (None, None));
            assert_eq!((lasts(2_000), lasts(100_000)), (Some(9), Some(0)));
        }
    }
}
