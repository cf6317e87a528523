//! How often a client may try to log in, per address and per account, and how often an account may make this server connect to
//! others. A guesser waits, a typing error does not.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use gostream_net::connection_limiter::{Client as _, client_prefix};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DefaultKeyedStateStore,
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

/// After this many tries those who have waited long enough are forgotten: addresses of IPv6 cost their owners nothing.
const TRIES_REMEMBERED: u32 = 4_096;

/// Who tries a password of an account. Each has tries of its own, so that strangers use up none but those of strangers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guesser {
    /// Anybody, on the account with this email address, which need not exist.
    Stranger(String),
    /// A client at an address from which that account was logged in to before.
    Neighbour(String, IpAddr),
    /// A browser that was logged in to that account before.
    Browser(Uuid),
    /// A session of that account, which changes the password.
    Session(Uuid),
}

type Limiter<K, C> = RateLimiter<K, DefaultKeyedStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Tries by address. A /56 of IPv6 is 256 sites, and has the tries of two.
#[derive(Debug)]
struct ByAddress<C: Clock> {
    sites: Limiter<IpAddr, C>,
    subscribers: Limiter<IpAddr, C>,
}

/// Counts tries.
#[derive(Debug)]
pub(crate) struct Limits<C: Clock = DefaultClock> {
    stream_keys: ByAddress<C>,
    addresses: ByAddress<C>,
    guessers: Limiter<Guesser, C>,
    dials: Limiter<Uuid, C>,
    hooks: Limiter<Uuid, C>,
    clock: C,
    tries: AtomicU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(DefaultClock::default())
    }
}

fn limiter<K: Clone + Eq + Hash, C: Clock + Clone>(interval: Duration, burst: NonZeroU32, clock: &C) -> Limiter<K, C> {
    // The intervals above are not zero; the other branch is stricter.
    let quota = Quota::with_period(interval).unwrap_or(Quota::per_hour(burst)).allow_burst(burst);
    RateLimiter::hashmap_with_clock(quota, clock.clone())
}

impl<C: Clock + Clone> ByAddress<C> {
    fn new(interval: Duration, burst: NonZeroU32, clock: &C) -> Self {
        let twice = burst.saturating_add(burst.get());
        Self { sites: limiter(interval, burst, clock), subscribers: limiter(interval / 2, twice, clock) }
    }

    fn prune(&self) {
        self.sites.retain_recent();
        self.subscribers.retain_recent();
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn new(clock: C) -> Self {
        Self {
            stream_keys: ByAddress::new(STREAM_KEY_INTERVAL, STREAM_KEY_BURST, &clock),
            addresses: ByAddress::new(ADDRESS_INTERVAL, ADDRESS_BURST, &clock),
            guessers: limiter(ACCOUNT_INTERVAL, ACCOUNT_BURST, &clock),
            dials: limiter(DIAL_INTERVAL, DIAL_BURST, &clock),
            hooks: limiter(HOOK_INTERVAL, HOOK_BURST, &clock),
            clock,
            tries: AtomicU32::new(0),
        }
    }

    /// One try from `address`; the error is how long to wait.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        self.check_address(&self.addresses, address)
    }

    /// One unknown stream key from `address`; the error is how long to wait.
    pub(crate) fn stream_key(&self, address: IpAddr) -> Result<(), Duration> {
        self.check_address(&self.stream_keys, address)
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

    fn check_address(&self, limiters: &ByAddress<C>, address: IpAddr) -> Result<(), Duration> {
        let site = client_prefix(address);
        self.check(&limiters.sites, &site)?;
        site.group().map_or(Ok(()), |subscriber| self.check(&limiters.subscribers, &subscriber))
    }

    fn check<K: Clone + Eq + Hash>(&self, limiter: &Limiter<K, C>, key: &K) -> Result<(), Duration> {
        if self.tries.fetch_add(1, Ordering::Relaxed) % TRIES_REMEMBERED == TRIES_REMEMBERED - 1 {
            self.prune();
        }
        let now = self.clock.now();
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// Forgets those who have waited long enough, so that memory follows the tries of the last minutes.
    fn prune(&self) {
        self.stream_keys.prune();
        self.addresses.prune();
        self.guessers.retain_recent();
        self.dials.retain_recent();
        self.hooks.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn memory_follows_the_tries_of_the_last_minutes() {
        let clock = FakeRelativeClock::default();
        let limits = Limits::new(clock.clone());
        for n in 0..200_000_u32 {
            let address = std::net::Ipv6Addr::from(u128::from(n) << 72 | 0x2001_0DB8 << 96);
            limits.address(address.into()).expect("its first try");
            limits.guess(&Guesser::Stranger(format!("{n}@example.org"))).expect("its first try");
            clock.advance(Duration::from_millis(10));
        }
        // Half an hour of tries passed; those of the last minute may be there.
        let (addresses, guessers) = (limits.addresses.sites.len(), limits.guessers.len());
        assert!(addresses < 10_000 && guessers < 10_000, "{addresses} {guessers}");
    }

    #[test]
    fn many_sites_of_one_subscriber_have_the_tries_of_two() {
        let limits = Limits::new(FakeRelativeClock::default());
        let address = |n: u128| std::net::Ipv6Addr::from(0x2001_0DB8_u128 << 96 | n << 64).into();
        let tried = (0..256).take_while(|&n| limits.address(address(n)).is_ok()).count();
        assert_eq!(tried, 2 * ADDRESS_BURST.get() as usize);
        limits.address(address(256)).expect("the next subscriber");
    }

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
