//! The door of a port: how many connections there are, how many of them wait to be admitted, how many one subscriber holds.
//! Whom a bound is for is the caller's to say: a [`site`], or an account.
//!
//! When a door is full, the oldest idle connection of the client that holds the most makes room, so that a few addresses
//! cannot take the server from the others. A client that itself holds the most only ever replaces its own.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many may be in.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Connections that have not been admitted yet, from everywhere.
    pub waiting: usize,
    /// The same from one address, or account.
    pub waiting_per_address: usize,
    /// Connections of all kinds, from everywhere.
    pub connections: usize,
    /// The same from one address, or account.
    pub connections_per_address: usize,
    /// Connections of trusted proxies, which nobody else can take.
    pub proxies: usize,
}

/// A group has the places of so many addresses: providers give one subscriber a /56 (RIPE-690 section 4.2), which is 256
/// sites, and some put a few subscribers into one.
const ADDRESSES_PER_GROUP: usize = 2;
/// No single address may take more than this part of all places, and no more than a quarter of them while it waits.
const SHARE_OF_ONE: usize = 2;

impl Places {
    /// The same, where there are files for `connections` connections and `proxies` of trusted proxies.
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

/// Whom a bound is for.
pub trait Client: Copy + Eq + Hash {
    /// The wider group that it belongs to, which has a bound as well.
    fn group(self) -> Option<Self> {
        None
    }
}

/// An account.
impl Client for Uuid {}

/// A [`site`].
impl Client for IpAddr {
    fn group(self) -> Option<Self> {
        match self {
            Self::V6(v6) => Some(prefix(v6, 56)),
            Self::V4(_) => None,
        }
    }
}

/// Who shares a bound with `address`: one subscriber has a whole /64 of IPv6.
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => prefix(v6, 64),
        v4 => v4,
    }
}

/// The same a tier wider: providers give one subscriber a /56 of IPv6, which is 256 sites.
pub fn subscriber(address: IpAddr) -> IpAddr {
    let site = site(address);
    site.group().unwrap_or(site)
}

fn prefix(address: Ipv6Addr, bits: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))).into()
}

/// The door: hands out places.
#[derive(Debug)]
pub struct Door<K: Client = IpAddr> {
    places: Places,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    all: Count,
    proxies: Holder,
    sites: HashMap<K, Count>,
    /// By group, or by client where it has none: who holds the most is judged by these.
    holders: HashMap<K, Holder>,
    entries: HashMap<u64, Entry<K>>,
    /// Counts up: names entries, and orders moments.
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
    /// Since when, and which.
    idle: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Entry<K> {
    client: Option<K>,
    waits: bool,
    /// Since when it is idle, if it is.
    idle: Option<u64>,
    evicted: CancellationToken,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place<K: Client = IpAddr> {
    door: Arc<Door<K>>,
    id: u64,
    evicted: CancellationToken,
}

/// Which bound a newcomer meets.
#[derive(Clone, Copy)]
enum Full {
    Waiting,
    Connections,
}

impl<K: Client> Door<K> {
    /// A door to so many places.
    pub fn new(places: Places) -> Arc<Self> {
        let state = State {
            all: Count::default(),
            proxies: Holder::default(),
            sites: HashMap::new(),
            holders: HashMap::new(),
            entries: HashMap::new(),
            next: 0,
        };
        Arc::new(Self { places, state: Mutex::new(state) })
    }

    /// A place for something that is never idle, or `None` when it is one too many. Without a client it is a trusted
    /// proxy's, which has places of its own.
    pub fn enter(self: &Arc<Self>, client: Option<K>) -> Option<Place<K>> {
        let mut state = self.state();
        if !state.has_room(&self.places, client) || state.full(&self.places, client).is_some() {
            return None;
        }
        Some(self.place(&mut state, client, false, CancellationToken::new()))
    }

    /// A place for a new connection, which is idle at first: when all places are taken, another idle one may be evicted
    /// for it. `None` when it is one too many.
    pub fn connect(self: &Arc<Self>, client: Option<K>) -> Option<Place<K>> {
        self.connect_with(client, CancellationToken::new())
    }

    /// The same for one of several things that end together: whichever is evicted cancels `evicted`.
    pub fn connect_with(self: &Arc<Self>, client: Option<K>, evicted: CancellationToken) -> Option<Place<K>> {
        let mut state = self.state();
        if !state.has_room(&self.places, client) {
            return None;
        }
        while let Some(full) = state.full(&self.places, client) {
            let victim = state.victim(full, client)?;
            if let Some(entry) = state.remove(victim) {
                entry.evicted.cancel();
            }
        }
        Some(self.place(&mut state, client, true, evicted))
    }

    fn place(
        self: &Arc<Self>,
        state: &mut State<K>,
        client: Option<K>,
        idle: bool,
        evicted: CancellationToken,
    ) -> Place<K> {
        let id = state.add(client, evicted.clone());
        if idle {
            state.set_idle(id, true);
        }
        Place { door: Arc::clone(self), id, evicted }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Client> Place<K> {
    /// The connection was admitted: it no longer counts as waiting.
    pub fn admit(&self) {
        self.door.state().admit(self.id);
    }

    /// Something is under way: the connection is not evicted.
    pub fn busy(&self) {
        self.door.state().set_idle(self.id, false);
    }

    /// Nothing is under way any more.
    pub fn idle(&self) {
        self.door.state().set_idle(self.id, true);
    }

    /// Cancelled once the place went to another connection: this one must close.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl<K: Client> Drop for Place<K> {
    fn drop(&mut self) {
        self.door.state().remove(self.id);
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
    /// Whether the client's own bounds leave room.
    fn has_room(&self, places: &Places, client: Option<K>) -> bool {
        let Some(client) = client else { return true };
        let fits = |count: Count, times: usize| {
            count.waiting < places.waiting_per_address.saturating_mul(times)
                && count.connections < places.connections_per_address.saturating_mul(times)
        };
        let here = self.sites.get(&client).copied().unwrap_or_default();
        let group = client.group().and_then(|group| self.holders.get(&group)).map(|holder| holder.count);
        fits(here, 1) && fits(group.unwrap_or_default(), ADDRESSES_PER_GROUP)
    }

    /// The bound on all clients that leaves no room, if one does.
    fn full(&self, places: &Places, client: Option<K>) -> Option<Full> {
        if client.is_none() {
            return (self.proxies.count.connections >= places.proxies).then_some(Full::Connections);
        }
        if self.all.connections >= places.connections {
            return Some(Full::Connections);
        }
        (self.all.waiting >= places.waiting).then_some(Full::Waiting)
    }

    /// The idle connection that makes room for `client`: the oldest of who holds the most, if that is more than the client
    /// holds, and otherwise the client's own.
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
                self.sites.entry(client).or_default().enter();
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
                self.sites.get_mut(&client),
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
        if let Some(site) = self.sites.get_mut(&client) {
            site.leave(waited);
            if site.connections == 0 {
                self.sites.remove(&client);
            }
        }
        if let Some(holder) = self.holders.get_mut(&key) {
            holder.count.leave(waited);
            debug_assert!(holder.idle.len() <= holder.count.connections, "what left is idle no more");
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
