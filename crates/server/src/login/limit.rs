//! How often somebody may try to log in, per address and per account, and how often an account may make this server connect to
//! others. A guesser waits, a typing error does not.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use gostream_engine::door::site;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use uuid::Uuid;

/// Tries per address at once: a school behind one address makes its accounts in one lesson.
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// After that, one try each.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Tries per account at once.
const ACCOUNT_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// After that, one try each: 2880 guesses a day, where zxcvbn score 2 stands for 10^6 and more.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(30);
/// Unknown stream keys per address at once: an encoder with an old key tries again every few seconds.
const STREAM_KEY_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// After that, one each.
const STREAM_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Destinations that an account tries out, or tries again, at once: more than most projects have.
const DIAL_BURST: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// After that, one each: a scan of all ports of one address takes four days.
const DIAL_INTERVAL: Duration = Duration::from_secs(5);
/// Publishers that servers in front announce for an account at once: all its encoders after a restart there.
const HOOK_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// After that, one each.
const HOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Who tries a password of an account. Each has tries of its own, so that strangers use up none but those of strangers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guesser {
    /// Anybody, on the account with this email address, which need not exist.
    Stranger(String),
    /// Somebody at an address from which that account was logged in to before.
    Neighbour(String, IpAddr),
    /// A browser that was logged in to that account before.
    Browser(Uuid),
    /// A session of that account, which changes the password.
    Session(Uuid),
}

/// Counts tries.
#[derive(Debug)]
pub(crate) struct Limits {
    stream_keys: DefaultKeyedRateLimiter<IpAddr>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    guessers: DefaultKeyedRateLimiter<Guesser>,
    dials: DefaultKeyedRateLimiter<Uuid>,
    hooks: DefaultKeyedRateLimiter<Uuid>,
    clock: DefaultClock,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream_keys: limiter(STREAM_KEY_INTERVAL, STREAM_KEY_BURST),
            addresses: limiter(ADDRESS_INTERVAL, ADDRESS_BURST),
            guessers: limiter(ACCOUNT_INTERVAL, ACCOUNT_BURST),
            dials: limiter(DIAL_INTERVAL, DIAL_BURST),
            hooks: limiter(HOOK_INTERVAL, HOOK_BURST),
            clock: DefaultClock::default(),
        }
    }
}

fn limiter<K: Clone + Eq + Hash>(interval: Duration, burst: NonZeroU32) -> DefaultKeyedRateLimiter<K> {
    // The intervals above are not zero; the other branch is stricter.
    RateLimiter::keyed(Quota::with_period(interval).unwrap_or(Quota::per_hour(burst)).allow_burst(burst))
}

impl Limits {
    /// One try from `address`; the error is how long to wait.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(&self.addresses, &site(address))
    }

    /// One unknown stream key from `address`; the error is how long to wait.
    pub(crate) fn stream_key(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(&self.stream_keys, &site(address))
    }

    /// One password; the error is how long to wait.
    pub(crate) fn guess(&self, guesser: &Guesser) -> Result<(), Duration> {
        self.check(&self.guessers, guesser)
    }

    /// One connection that an account asks for; the error is how long to wait.
    pub(crate) fn dial(&self, account: Uuid) -> Result<(), Duration> {
        self.check(&self.dials, &account)
    }

    /// One publisher at a server in front, which is connected to then; the error is how long to wait.
    pub(crate) fn hook(&self, account: Uuid) -> Result<(), Duration> {
        self.check(&self.hooks, &account)
    }

    fn check<K: Clone + Eq + Hash>(&self, limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Duration> {
        let now = self.clock.now();
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// Forgets whoever has waited long enough, so that memory follows the tries of the last minutes.
    pub(crate) fn prune(&self) {
        self.stream_keys.retain_recent();
        self.addresses.retain_recent();
        self.guessers.retain_recent();
        self.dials.retain_recent();
        self.hooks.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_passes_and_the_next_waits() {
        let limits = Limits::default();
        let stranger = |email: &str| Guesser::Stranger(email.to_owned());
        for _ in 0..ACCOUNT_BURST.get() {
            limits.guess(&stranger("a@example.org")).expect("within the burst");
        }
        let wait = limits.guess(&stranger("a@example.org")).expect_err("beyond the burst");
        assert!(wait > Duration::ZERO && wait <= ACCOUNT_INTERVAL, "{wait:?}");
        limits.guess(&stranger("b@example.org")).expect("another account");
        let neighbour = Guesser::Neighbour("a@example.org".to_owned(), [192, 0, 2, 1].into());
        limits.guess(&neighbour).expect("strangers do not count for those who are known");
    }
}
