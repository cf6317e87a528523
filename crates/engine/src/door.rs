//! The door of a port: how many connections there are, how many of them wait to be admitted, how many one subscriber holds.
//! Whom a bound is for is the caller's to say: a [`site`], or an account.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
}

/// The door: hands out places.
#[derive(Debug)]
pub struct Door<K: Copy + Eq + Hash = IpAddr> {
    places: Places,
    counts: Mutex<Counts<K>>,
}

#[derive(Debug)]
struct Counts<K> {
    all: Count,
    sites: HashMap<K, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    waiting: usize,
    connections: usize,
}

/// Who shares a bound with `address`: one subscriber has a whole /64 of IPv6.
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place<K: Copy + Eq + Hash = IpAddr> {
    door: Arc<Door<K>>,
    site: Option<K>,
    waits: bool,
}

impl<K: Copy + Eq + Hash> Door<K> {
    /// A door to so many places.
    pub fn new(places: Places) -> Arc<Self> {
        let counts = Counts { all: Count::default(), sites: HashMap::new() };
        Arc::new(Self { places, counts: Mutex::new(counts) })
    }

    /// A place for a new connection, or `None` when it is one too many. Without a site it is that of somebody who
    /// speaks for many, and counts only among all.
    pub fn enter(self: &Arc<Self>, site: Option<K>) -> Option<Place<K>> {
        let mut counts = self.counts();
        let from_here = site.and_then(|site| counts.sites.get(&site)).copied().unwrap_or_default();
        let Places { waiting, waiting_per_address, connections, connections_per_address } = self.places;
        if counts.all.waiting >= waiting
            || counts.all.connections >= connections
            || from_here.waiting >= waiting_per_address
            || from_here.connections >= connections_per_address
        {
            return None;
        }
        counts.all.enter();
        if let Some(site) = site {
            counts.sites.entry(site).or_default().enter();
        }
        drop(counts);
        Some(Place { door: Arc::clone(self), site, waits: true })
    }

    fn counts(&self) -> MutexGuard<'_, Counts<K>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Place<K> {
    /// The connection was admitted: it no longer counts as waiting.
    pub fn admit(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.door.counts().release(self.site, true, false);
        }
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.door.counts().release(self.site, self.waits, true);
    }
}

impl Count {
    fn enter(&mut self) {
        self.waiting += 1;
        self.connections += 1;
    }

    fn release(&mut self, waiting: bool, connection: bool) {
        self.waiting -= usize::from(waiting);
        self.connections -= usize::from(connection);
    }
}

impl<K: Copy + Eq + Hash> Counts<K> {
    fn release(&mut self, site: Option<K>, waiting: bool, connection: bool) {
        self.all.release(waiting, connection);
        let Some(site) = site else { return };
        if let Some(count) = self.sites.get_mut(&site) {
            count.release(waiting, connection);
            if count.connections == 0 {
                self.sites.remove(&site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places =
        Places { waiting: 3, waiting_per_address: 2, connections: usize::MAX, connections_per_address: 3 };

    fn address(text: &str) -> Option<IpAddr> {
        Some(site(text.parse().expect("is an address")))
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let door = Door::new(PLACES);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let mut first = door.enter(a).expect("is free");
        let second = door.enter(a).expect("is free");
        assert!(door.enter(a).is_none(), "two wait from one address");
        let _other = door.enter(b).expect("another address is free");
        assert!(door.enter(b).is_none(), "three wait in all");
        first.admit();
        let third = door.enter(a).expect("the admitted one waits no more");
        drop(second);
        assert!(door.enter(address("::ffff:192.0.2.1")).is_some(), "two connections are held");
        drop((first, third));
        assert_eq!(door.counts().sites.len(), 1);
    }

    #[test]
    fn who_speaks_for_many_counts_only_among_all() {
        let door = Door::new(Places { connections: 5, ..PLACES });
        let mut held = Vec::new();
        while let Some(mut place) = door.enter(None) {
            place.admit();
            held.push(place);
        }
        assert_eq!(held.len(), 5);
        assert!(door.enter(address("192.0.2.1")).is_none(), "five are in");
        held.pop();
        assert!(door.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let site = |text| address(text).expect("is one");
        assert_eq!(site("2001:db8::1"), site("2001:db8::ffff:1"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_eq!(site("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
        let door = Door::new(PLACES);
        let _held = ["2001:db8::1", "2001:db8::2"].map(|text| door.enter(address(text)).expect("is free"));
        assert!(door.enter(address("2001:db8::3")).is_none(), "two wait from one subscriber");
    }
}
