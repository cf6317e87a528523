//! Limits the connections of a port: all of them, those that were not admitted yet, and those of one client. A client is a
//! [`client_prefix`] or an account; the caller decides.
//!
//! When the limit is reached, the oldest idle connection of the client with the most connections is evicted, so that a few addresses
//! cannot lock out the others. The client with the most connections replaces only its own.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The most connections that a [`ConnectionLimiter`] permits.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that have not been admitted yet, from everywhere.
    pub waiting: usize,
    /// The same from one address, or account.
    pub waiting_per_address: usize,
    /// Connections of all kinds, from everywhere.
    pub connections: usize,
    /// The same from one address, or account.
    pub connections_per_address: usize,
    /// Connections of trusted proxies, reserved for them.
    pub proxies: usize,
}

/// A group may hold what this many addresses may hold. Providers give one subscriber a /56 (RIPE-690 section 4.2), which is 256
/// prefixes of 64 bits, and some put a few subscribers into one.
const ADDRESSES_PER_GROUP: usize = 2;
/// One address may hold at most one in this many connections, and half of that before it is admitted.
const SHARE_OF_ONE: usize = 2;

impl ConnectionLimits {
    /// The same limits, reduced to `connections` connections and `proxies` of trusted proxies.
    #[must_use]
    pub fn at_most(self, connections: usize, proxies: usize) -> Self {
        let connections = self.connections.min(connections).max(1);
        Self {
            waiting: self.waiting.min(connections),
            waiting_per_address: self.waiting_per_address.min(connections.div_ceil(2 * SHARE_OF_ONE)),
            connections,
            connections_per_address: self.connections_per_address.min(connections.div_ceil(SHARE_OF_ONE)),
            proxies: self.proxies.min(proxies),
        }
    }
}

/// What a limit per client applies to.
pub trait Client: Copy + Eq + Hash {
    /// The wider group that it belongs to, which has a limit as well.
    fn group(self) -> Option<Self> {
        None
    }
}

/// An account.
impl Client for Uuid {}

/// A [`client_prefix`].
impl Client for IpAddr {
    fn group(self) -> Option<Self> {
        match self {
            Self::V6(v6) => Some(prefix(v6, 56)),
            Self::V4(_) => None,
        }
    }
}

/// The prefix that identifies a client: the /64 of an IPv6 address, which one subscriber has for itself; an IPv4 address as it is.
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => prefix(v6, 64),
        v4 => v4,
    }
}

/// The prefix that identifies a subscriber: the /56 of an IPv6 address, which is 256 of [`client_prefix`]; an IPv4 address as it is.
pub fn subscriber_prefix(address: IpAddr) -> IpAddr {
    let prefix = client_prefix(address);
    prefix.group().unwrap_or(prefix)
}

fn prefix(address: Ipv6Addr, bits: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))).into()
}

/// Hands out permits for connections.
#[derive(Debug)]
pub struct ConnectionLimiter<K: Client = IpAddr> {
    limits: ConnectionLimits,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    all: Count,
    proxies: Holder,
    clients: HashMap<K, Count>,
    /// By group, or by client without a group: the client with the most connections is found here.
    holders: HashMap<K, Holder>,
    entries: HashMap<u64, Entry<K>>,
    /// The next id of an entry, and the next moment of an idle connection. Counts up.
    next: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    waiting: usize,
    connections: usize,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Holder {
    count: Count,
    /// The idle connections: since when, and their ids.
    idle: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Entry<K> {
    client: Option<K>,
    waits: bool,
    /// Since when it is idle; `None` while it is not.
    idle: Option<u64>,
    evicted: CancellationToken,
}

/// Permits one connection; returned when dropped.
#[derive(Debug)]
pub struct Permit<K: Client = IpAddr> {
    limiter: Arc<ConnectionLimiter<K>>,
    id: u64,
    evicted: CancellationToken,
}

/// Which limit a new connection reaches.
#[derive(Clone, Copy)]
enum Full {
    Waiting,
    Connections,
}

impl<K: Client> ConnectionLimiter<K> {
    /// A limiter without connections.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        let state = State {
            all: Count::default(),
            proxies: Holder::default(),
            clients: HashMap::new(),
            holders: HashMap::new(),
            entries: HashMap::new(),
            next: 0,
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// Permits a connection that is never idle. `None` when a limit is reached. Without a client it is a trusted proxy's, and
    /// counts against the limit for proxies alone.
    pub fn enter(self: &Arc<Self>, client: Option<K>) -> Option<Permit<K>> {
        let mut state = self.state();
        if !state.has_room(&self.limits, client) || state.full(&self.limits, client).is_some() {
            return None;
        }
        Some(self.permit(&mut state, client, false, CancellationToken::new()))
    }

    /// Permits a new connection, which is idle at first. When a limit on all clients is reached, another idle connection may be
    /// evicted for it. `None` when there is no room.
    pub fn connect(self: &Arc<Self>, client: Option<K>) -> Option<Permit<K>> {
        self.connect_with(client, CancellationToken::new())
    }

    /// Like [`connect`](Self::connect), for one of several permits of a connection: the eviction of one cancels `evicted` for all.
    pub fn connect_with(self: &Arc<Self>, client: Option<K>, evicted: CancellationToken) -> Option<Permit<K>> {
        let mut state = self.state();
        if !state.has_room(&self.limits, client) {
            return None;
        }
        while let Some(full) = state.full(&self.limits, client) {
            let victim = state.victim(full, client)?;
            if let Some(entry) = state.remove(victim) {
                entry.evicted.cancel();
            }
        }
        Some(self.permit(&mut state, client, true, evicted))
    }

    fn permit(
        self: &Arc<Self>,
        state: &mut State<K>,
        client: Option<K>,
        idle: bool,
        evicted: CancellationToken,
    ) -> Permit<K> {
        let id = state.add(client, evicted.clone());
        if idle {
            state.set_idle(id, true);
        }
        Permit { limiter: Arc::clone(self), id, evicted }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Client> Permit<K> {
    /// Marks the connection as admitted: it no longer counts as waiting.
    pub fn admit(&self) {
        self.limiter.state().admit(self.id);
    }

    /// Marks the connection as busy: it is not evicted.
    pub fn busy(&self) {
        self.limiter.state().set_idle(self.id, false);
    }

    /// Marks the connection as idle: it may be evicted.
    pub fn idle(&self) {
        self.limiter.state().set_idle(self.id, true);
    }

    /// Cancelled when the permit went to another connection: this one must close.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl<K: Client> Drop for Permit<K> {
    fn drop(&mut self) {
        self.limiter.state().remove(self.id);
    }
}

impl Count {
    fn enter(&mut self) {
        self.waiting += 1;
        self.connections += 1;
    }

    fn leave(&mut self, waited: bool) {
        self.waiting -= usize::from(waited);
        self.connections -= 1;
    }

    fn of(self, full: Full) -> usize {
        match full {
            Full::Waiting => self.waiting,
            Full::Connections => self.connections,
        }
    }
}

impl<K: Client> State<K> {
    /// Whether the client's own limits leave room.
    fn has_room(&self, limits: &ConnectionLimits, client: Option<K>) -> bool {
        let Some(client) = client else { return true };
        let fits = |count: Count, times: usize| {
            count.waiting < limits.waiting_per_address.saturating_mul(times)
                && count.connections < limits.connections_per_address.saturating_mul(times)
        };
        let here = self.clients.get(&client).copied().unwrap_or_default();
        let group = client.group().and_then(|group| self.holders.get(&group)).map(|holder| holder.count);
        fits(here, 1) && fits(group.unwrap_or_default(), ADDRESSES_PER_GROUP)
    }

    /// The limit on all clients that is reached, if one is.
    fn full(&self, limits: &ConnectionLimits, client: Option<K>) -> Option<Full> {
        if client.is_none() {
            return (self.proxies.count.connections >= limits.proxies).then_some(Full::Connections);
        }
        if self.all.connections >= limits.connections {
            return Some(Full::Connections);
        }
        (self.all.waiting >= limits.waiting).then_some(Full::Waiting)
    }

    /// The idle connection to evict for `client`: the oldest of the client with the most connections, if it has more than
    /// `client`, and otherwise the oldest of `client`.
    fn victim(&self, full: Full, client: Option<K>) -> Option<u64> {
        let Some(client) = client else { return self.oldest(&self.proxies, full) };
        let own = self.holders.get(&holder_of(client));
        let held = own.map_or(0, |holder| holder.count.of(full));
        let mut larger: Vec<_> = self.holders.values().filter(|holder| holder.count.of(full) > held).collect();
        larger.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.count.of(full)));
        larger.into_iter().chain(own).find_map(|holder| self.oldest(holder, full))
    }

    fn oldest(&self, holder: &Holder, full: Full) -> Option<u64> {
        let counts = |id: &u64| match full {
            Full::Waiting => self.entries.get(id).is_some_and(|entry| entry.waits),
            Full::Connections => true,
        };
        holder.idle.iter().map(|(_, id)| *id).find(counts)
    }

    fn add(&mut self, client: Option<K>, evicted: CancellationToken) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, Entry { client, waits: true, idle: None, evicted });
        match client {
            None => self.proxies.count.enter(),
            Some(client) => {
                self.all.enter();
                self.clients.entry(client).or_default().enter();
                self.holders.entry(holder_of(client)).or_default().count.enter();
            }
        }
        self.next
    }

    fn admit(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if !std::mem::take(&mut entry.waits) {
            return;
        }
        let client = entry.client;
        let counts = match client {
            None => [Some(&mut self.proxies.count), None, None],
            Some(client) => [
                Some(&mut self.all),
                self.clients.get_mut(&client),
                self.holders.get_mut(&holder_of(client)).map(|holder| &mut holder.count),
            ],
        };
        for count in counts.into_iter().flatten() {
            count.waiting -= 1;
        }
    }

    fn set_idle(&mut self, id: u64, idle: bool) {
        self.next += 1;
        let since = self.next;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.idle, idle.then_some(since));
        let holder = match entry.client {
            None => Some(&mut self.proxies),
            Some(client) => self.holders.get_mut(&holder_of(client)),
        };
        let Some(holder) = holder else { return };
        if let Some(before) = before {
            holder.idle.remove(&(before, id));
        }
        if idle {
            holder.idle.insert((since, id));
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry<K>> {
        self.set_idle(id, false);
        let entry = self.entries.remove(&id)?;
        let Some(client) = entry.client else {
            self.proxies.count.leave(entry.waits);
            return Some(entry);
        };
        self.all.leave(entry.waits);
        let (key, waited) = (holder_of(client), entry.waits);
        if let Some(count) = self.clients.get_mut(&client) {
            count.leave(waited);
            if count.connections == 0 {
                self.clients.remove(&client);
            }
        }
        if let Some(holder) = self.holders.get_mut(&key) {
            holder.count.leave(waited);
            debug_assert!(holder.idle.len() <= holder.count.connections, "a removed connection is not idle");
            if holder.count.connections == 0 {
                self.holders.remove(&key);
            }
        }
        Some(entry)
    }
}

fn holder_of<K: Client>(client: K) -> K {
    client.group().unwrap_or(client)
}

#[cfg(test)]
mod tests;
