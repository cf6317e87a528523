//! Counting connections: how many wait to be admitted, how many one address holds.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::limits::Limits;

/// The door: hands out places.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Address {
    waiting: usize,
    connections: usize,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    address: IpAddr,
    waits: bool,
}

impl Door {
    /// A door with these limits.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// A place for a new connection, or `None` when it is one too many.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut counts = self.counts();
        let from_here = counts.addresses.get(&address).copied().unwrap_or_default();
        let Limits { waiting, waiting_per_address, connections_per_address, .. } = self.limits;
        if counts.waiting >= waiting
            || from_here.waiting >= waiting_per_address
            || from_here.connections >= connections_per_address
        {
            return None;
        }
        counts.waiting += 1;
        let entry = counts.addresses.entry(address).or_default();
        entry.waiting += 1;
        entry.connections += 1;
        drop(counts);
        Some(Place { door: Arc::clone(self), address, waits: true })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection was admitted: it no longer counts as waiting.
    pub fn admit(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.door.counts().release(self.address, true, false);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.counts().release(self.address, self.waits, true);
    }
}

impl Counts {
    fn release(&mut self, address: IpAddr, waiting: bool, connection: bool) {
        self.waiting -= usize::from(waiting);
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.waiting -= usize::from(waiting);
            entry.connections -= usize::from(connection);
            if entry.connections == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let limits = Limits { waiting: 3, waiting_per_address: 2, connections_per_address: 3, ..Limits::default() };
        let door = Door::new(limits);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut first = door.enter(a).expect("is free");
        let second = door.enter(a).expect("is free");
        assert!(door.enter(a).is_none(), "two wait from one address");
        let _other = door.enter(b).expect("another address is free");
        assert!(door.enter(b).is_none(), "three wait in all");
        first.admit();
        let third = door.enter(a).expect("the admitted one waits no more");
        drop(second);
        assert!(door.enter("::ffff:192.0.2.1".parse().expect("is an address")).is_some(), "two connections are held");
        drop((first, third));
        assert_eq!(door.counts().addresses.len(), 1);
    }
}
