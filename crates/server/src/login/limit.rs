//! Rate limits: login attempts per address and per account, and connections that an account makes this server open.
//! They slow down guessing and do not affect typing errors.

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

/// The burst of attempts per address. Pupils behind one address may all sign up in one lesson.
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// One attempt per this interval after the burst.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(2);
/// The burst of attempts per account.
const ACCOUNT_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// One attempt per this interval after the burst: 2880 guesses a day, where a zxcvbn score of 2 means at least 10^6
/// guesses.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(30);
/// The burst of unknown stream keys per address. An encoder with an old key retries every few seconds.
const STREAM_KEY_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// One unknown key per this interval after the burst.
const STREAM_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// The burst of tests and retries of destinations per account: more destinations than most projects have.
const DIAL_BURST: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// One per this interval after the burst: a scan of all ports of one address takes four days.
const DIAL_INTERVAL: Duration = Duration::from_secs(5);
/// The burst of publishers that upstream servers announce for an account: all its encoders after a restart of the
/// upstream server.
const HOOK_BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// One per this interval after the burst.
const HOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Clients that have waited long enough are forgotten once per this many attempts, because IPv6 addresses are free.
const PRUNE_INTERVAL: u32 = 4_096;

/// The client of a password attempt. Each kind has a limit of its own, so that unknown clients cannot use up the
/// attempts of known ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PasswordClient {
    /// An unknown client, for the account with this email address, which may not exist.
    Unknown(String),
    /// A client at an address from which the account has logged in before.
    KnownAddress(String, IpAddr),
    /// A browser that has logged in to the account before.
    Browser(Uuid),
    /// A session of the account that changes the password.
    Session(Uuid),
}

type Limiter<K, C> = RateLimiter<K, DefaultKeyedStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Limits by address. An IPv6 /56 prefix covers 256 /64 prefixes and has the limit of two of them.
#[derive(Debug)]
struct ByAddress<C: Clock> {
    sites: Limiter<IpAddr, C>,
    subscribers: Limiter<IpAddr, C>,
}

/// Counts attempts against the limits.
#[derive(Debug)]
pub(crate) struct RateLimits<C: Clock = DefaultClock> {
    stream_keys: ByAddress<C>,
    addresses: ByAddress<C>,
    password_clients: Limiter<PasswordClient, C>,
    dials: Limiter<Uuid, C>,
    hooks: Limiter<Uuid, C>,
    clock: C,
    attempts: AtomicU32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::new(DefaultClock::default())
    }
}

fn limiter<K: Clone + Eq + Hash, C: Clock + Clone>(interval: Duration, burst: NonZeroU32, clock: &C) -> Limiter<K, C> {
    // The intervals above are not zero. The fallback is stricter.
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

impl<C: Clock + Clone> RateLimits<C> {
    fn new(clock: C) -> Self {
        Self {
            stream_keys: ByAddress::new(STREAM_KEY_INTERVAL, STREAM_KEY_BURST, &clock),
            addresses: ByAddress::new(ADDRESS_INTERVAL, ADDRESS_BURST, &clock),
            password_clients: limiter(ACCOUNT_INTERVAL, ACCOUNT_BURST, &clock),
            dials: limiter(DIAL_INTERVAL, DIAL_BURST, &clock),
            hooks: limiter(HOOK_INTERVAL, HOOK_BURST, &clock),
            clock,
            attempts: AtomicU32::new(0),
        }
    }

    /// Counts one attempt from `address`. The error is the time to wait.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        self.check_address(&self.addresses, address)
    }

    /// Counts one unknown stream key from `address`. The error is the time to wait.
    pub(crate) fn stream_key(&self, address: IpAddr) -> Result<(), Duration> {
        self.check_address(&self.stream_keys, address)
    }

    /// Counts one password attempt. The error is the time to wait.
    pub(crate) fn password_attempt(&self, client: &PasswordClient) -> Result<(), Duration> {
        self.check(&self.password_clients, client)
    }

    /// Counts one connection that an account requests. The error is the time to wait.
    pub(crate) fn dial(&self, account: Uuid) -> Result<(), Duration> {
        self.check(&self.dials, &account)
    }

    /// Counts one publisher at an upstream server, which this server then connects to. The error is the time to wait.
    pub(crate) fn hook(&self, account: Uuid) -> Result<(), Duration> {
        self.check(&self.hooks, &account)
    }

    fn check_address(&self, limiters: &ByAddress<C>, address: IpAddr) -> Result<(), Duration> {
        let site = client_prefix(address);
        self.check(&limiters.sites, &site)?;
        site.group().map_or(Ok(()), |subscriber| self.check(&limiters.subscribers, &subscriber))
    }

    fn check<K: Clone + Eq + Hash>(&self, limiter: &Limiter<K, C>, key: &K) -> Result<(), Duration> {
        if self.attempts.fetch_add(1, Ordering::Relaxed) % PRUNE_INTERVAL == PRUNE_INTERVAL - 1 {
            self.prune();
        }
        let now = self.clock.now();
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(now))
    }

    /// Forgets clients that have waited long enough, so that memory use depends on the attempts of the last minutes.
    fn prune(&self) {
        self.stream_keys.prune();
        self.addresses.prune();
        self.password_clients.retain_recent();
        self.dials.retain_recent();
        self.hooks.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn memory_depends_on_the_attempts_of_the_last_minutes() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::new(clock.clone());
        for n in 0..200_000_u32 {
            let address = std::net::Ipv6Addr::from(u128::from(n) << 72 | 0x2001_0DB8 << 96);
            limits.address(address.into()).expect("its first try");
            limits
                .password_attempt(&PasswordClient::Unknown(format!("{n}@example.org")))
                .expect("its first try");
            clock.advance(Duration::from_millis(10));
        }
        // Half an hour of attempts has passed; only those of the last minutes may remain.
        let (addresses, password_clients) = (limits.addresses.sites.len(), limits.password_clients.len());
        assert!(addresses < 10_000 && password_clients < 10_000, "{addresses} {password_clients}");
    }

    #[test]
    fn many_prefixes_of_one_subscriber_have_the_limit_of_two() {
        let limits = RateLimits::new(FakeRelativeClock::default());
        let address = |n: u128| std::net::Ipv6Addr::from(0x2001_0DB8_u128 << 96 | n << 64).into();
        let attempts = (0..256).take_while(|&n| limits.address(address(n)).is_ok()).count();
        assert_eq!(attempts, 2 * ADDRESS_BURST.get() as usize);
        limits.address(address(256)).expect("the next subscriber");
    }

    #[test]
    fn attempts_beyond_the_burst_wait() {
        let limits = RateLimits::default();
        let unknown = |email: &str| PasswordClient::Unknown(email.to_owned());
        for _ in 0..ACCOUNT_BURST.get() {
            limits.password_attempt(&unknown("a@example.org")).expect("within the burst");
        }
        let wait = limits.password_attempt(&unknown("a@example.org")).expect_err("beyond the burst");
        assert!(wait > Duration::ZERO && wait <= ACCOUNT_INTERVAL, "{wait:?}");
        limits.password_attempt(&unknown("b@example.org")).expect("another account");
        let known_address = PasswordClient::KnownAddress("a@example.org".to_owned(), [192, 0, 2, 1].into());
        limits
            .password_attempt(&known_address)
            .expect("unknown clients do not use up the attempts of known ones");
    }
}
