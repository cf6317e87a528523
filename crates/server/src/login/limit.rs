//! How often somebody may try to log in: per address and per account. A guesser waits, a typing error does not.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use gostream_engine::door::site;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

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

/// Counts tries.
#[derive(Debug)]
pub(crate) struct Limits {
    stream_keys: DefaultKeyedRateLimiter<IpAddr>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    accounts: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl Default for Limits {
    fn default() -> Self {
        let quota = |interval, burst| Quota::with_period(interval).map(|quota| quota.allow_burst(burst));
        // The intervals above are not zero; the other branch is stricter.
        let addresses = quota(ADDRESS_INTERVAL, ADDRESS_BURST).unwrap_or(Quota::per_minute(ADDRESS_BURST));
        let accounts = quota(ACCOUNT_INTERVAL, ACCOUNT_BURST).unwrap_or(Quota::per_hour(ACCOUNT_BURST));
        let stream_keys = quota(STREAM_KEY_INTERVAL, STREAM_KEY_BURST).unwrap_or(Quota::per_minute(STREAM_KEY_BURST));
        Self {
            stream_keys: RateLimiter::keyed(stream_keys),
            addresses: RateLimiter::keyed(addresses),
            accounts: RateLimiter::keyed(accounts),
            clock: DefaultClock::default(),
        }
    }
}

impl Limits {
    /// One try from `address`; the error is how long to wait.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        let now = self.clock.now();
        self.addresses.check_key(&site(address)).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// One unknown stream key from `address`; the error is how long to wait.
    pub(crate) fn stream_key(&self, address: IpAddr) -> Result<(), Duration> {
        let now = self.clock.now();
        self.stream_keys.check_key(&site(address)).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// One try on the account of `email`, which need not exist; the error is how long to wait.
    pub(crate) fn account(&self, email: &str) -> Result<(), Duration> {
        let now = self.clock.now();
        self.accounts.check_key(&email.to_owned()).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// Forgets whoever has waited long enough, so that memory follows the tries of the last minutes.
    pub(crate) fn prune(&self) {
        self.stream_keys.retain_recent();
        self.addresses.retain_recent();
        self.accounts.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_passes_and_the_next_waits() {
        let limits = Limits::default();
        for _ in 0..ACCOUNT_BURST.get() {
            limits.account("a@example.org").expect("within the burst");
        }
        let wait = limits.account("a@example.org").expect_err("beyond the burst");
        assert!(wait > Duration::ZERO && wait <= ACCOUNT_INTERVAL, "{wait:?}");
        limits.account("b@example.org").expect("another account");
    }
}
