//! Encoders that tried an unknown stream key. Most often their owner mistyped the key and is looking at the page.
//!
//! The server cannot know whose encoder it is. So an attempt is shown to viewers at the encoder's address or in the
//! same private network. Other users' addresses stay private.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The most addresses remembered. The oldest is forgotten beyond that.
const ADDRESSES_MAX: usize = 1_024;
/// How long an attempt is shown.
const RECENT: Duration = Duration::from_secs(300);
/// Open pages are notified at most once per this interval, so that an encoder that keeps trying does not keep them
/// busy.
const NOTIFY_INTERVAL: Duration = Duration::from_secs(1);

/// The addresses that tried unknown keys, with the time of the last attempt.
#[derive(Debug, Default)]
pub(crate) struct UnknownKeyAttempts(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    times: HashMap<IpAddr, SystemTime>,
    notified_at: Option<Instant>,
}

impl UnknownKeyAttempts {
    /// Remembers an attempt. Returns whether open pages should be notified.
    pub(crate) fn record(&self, address: IpAddr, at: SystemTime) -> bool {
        let mut seen = self.seen();
        let Seen { times, notified_at } = &mut *seen;
        if times.len() >= ADDRESSES_MAX && !times.contains_key(&address.to_canonical()) {
            let oldest = times.iter().min_by_key(|(_, at)| **at).map(|(&address, _)| address);
            oldest.and_then(|oldest| times.remove(&oldest));
        }
        times.insert(address.to_canonical(), at);
        let due = notified_at.is_none_or(|notified_at| notified_at.elapsed() >= NOTIFY_INTERVAL);
        if due {
            *notified_at = Some(Instant::now());
        }
        due
    }

    /// Forgets the attempts of an address, because an encoder there used a valid key.
    pub(crate) fn forget(&self, address: IpAddr) {
        self.seen().times.remove(&address.to_canonical());
    }

    /// The newest recent attempt from near a viewer's address.
    pub(crate) fn near(&self, viewer: IpAddr, now: SystemTime) -> Option<(IpAddr, SystemTime)> {
        let seen = self.seen();
        let recent = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < RECENT);
        let times = seen.times.iter().map(|(&address, &at)| (address, at));
        times.filter(|&(address, at)| recent(at) && is_near(viewer, address)).max_by_key(|&(_, at)| at)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_near(a: IpAddr, b: IpAddr) -> bool {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    match (a, b) {
        _ if a == b || is_private(a) && is_private(b) => true,
        // A household has a /64 prefix, within which its devices change their addresses.
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("is an address")
    }

    #[test]
    fn only_viewers_near_an_encoder_see_its_attempts() {
        let attempts = UnknownKeyAttempts::default();
        let now = SystemTime::now();
        assert!(attempts.record(ip("203.0.113.7"), now));
        assert!(!attempts.record(ip("2001:db8::1"), now), "pages were notified a moment ago");
        attempts.record(ip("192.168.1.5"), now);
        let near = |viewer| attempts.near(ip(viewer), now).map(|(address, _)| address);
        assert_eq!(near("203.0.113.7"), Some(ip("203.0.113.7")));
        assert_eq!(near("::ffff:203.0.113.7"), Some(ip("203.0.113.7")));
        assert_eq!(near("203.0.113.8"), None);
        assert_eq!(near("2001:db8::2"), Some(ip("2001:db8::1")));
        assert_eq!(near("2001:db8:0:1::2"), None);
        assert_eq!(near("10.0.0.1"), Some(ip("192.168.1.5")));
        assert_eq!(attempts.near(ip("203.0.113.7"), now + RECENT), None);
        attempts.forget(ip("203.0.113.7"));
        assert_eq!(near("203.0.113.7"), None);
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let attempts = UnknownKeyAttempts::default();
        let start = SystemTime::now();
        for n in 0..2_000_u32 {
            attempts.record(IpAddr::from(n.to_be_bytes()), start + Duration::from_millis(n.into()));
        }
        assert_eq!(attempts.seen().times.len(), ADDRESSES_MAX);
        assert!(attempts.near(IpAddr::from(1_999_u32.to_be_bytes()), start + Duration::from_secs(3)).is_some());
        assert!(attempts.near(IpAddr::from(5_u32.to_be_bytes()), start + Duration::from_secs(3)).is_none());
    }
}
