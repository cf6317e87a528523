//! The memory for destinations with a delay, with a limit for all streams and one per account. A stream keeps what it
//! was granted; a stream that gets no more memory has shorter delays.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    broadcast::ring::{DELAYED_BYTES_MAX, KEPT_BYTES_MAX},
    spec::AccountId,
};

/// For all streams, in bytes: a gibibyte, enough for four streams with the maximum.
const ALL_BYTES_MAX: usize = 4 * DELAYED_BYTES_MAX;
/// For one account, in bytes: half of it.
const ACCOUNT_BYTES_MAX: usize = 2 * DELAYED_BYTES_MAX;
/// More than arrives between two calls of `resize`, in bytes: half a second of 100 Mbit/s.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// The bytes granted to each account.
#[derive(Debug, Default)]
pub(crate) struct DelayRoom(Mutex<HashMap<AccountId, usize>>);

/// The bytes granted to one stream, in addition to what every stream may keep. Returned when dropped.
#[derive(Debug)]
pub(super) struct DelayShare {
    room: Arc<DelayRoom>,
    account: AccountId,
    granted_bytes: usize,
}

impl DelayRoom {
    /// A new share without memory.
    pub(super) fn share(self: &Arc<Self>, account: AccountId) -> DelayShare {
        DelayShare { room: Arc::clone(self), account, granted_bytes: 0 }
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DelayShare {
    /// Requests what a stream needs whose ring holds `held_bytes`, including the next packets. Returns what is granted
    /// now, in bytes.
    pub(super) fn resize(&mut self, held_bytes: usize) -> usize {
        // Packets in the oldest seventh of the room are due at every delay.
        let needed = (held_bytes + held_bytes / 6 + AHEAD_BYTES).saturating_sub(KEPT_BYTES_MAX).min(DELAYED_BYTES_MAX);
        self.set(needed)
    }

    fn set(&mut self, needed_bytes: usize) -> usize {
        let mut accounts = self.room.lock();
        let all: usize = accounts.values().sum();
        let of_account = accounts.get(&self.account).copied().unwrap_or(0);
        let left = (ALL_BYTES_MAX - all).min(ACCOUNT_BYTES_MAX - of_account);
        let granted = needed_bytes.min(self.granted_bytes + left);
        match of_account - self.granted_bytes + granted {
            0 => drop(accounts.remove(&self.account)),
            bytes => drop(accounts.insert(self.account, bytes)),
        }
        self.granted_bytes = granted;
        granted
    }
}

impl Drop for DelayShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_account_leaves_room_for_others_and_all_have_a_bound() {
        let room = Arc::new(DelayRoom::default());
        let share = |account| room.share(AccountId(Uuid::from_u128(account)));
        let all = usize::MAX / 2;
        let mut of_one: Vec<_> = (0..10).map(|_| share(1)).collect();
        assert_eq!(of_one.iter_mut().map(|share| share.resize(all)).sum::<usize>(), ACCOUNT_BYTES_MAX);
        let mut of_many: Vec<_> = (2..100).map(share).collect();
        let granted: usize = of_many.iter_mut().map(|share| share.resize(all)).sum();
        assert_eq!(granted, ALL_BYTES_MAX - ACCOUNT_BYTES_MAX);
        assert_eq!(of_one[0].resize(all), DELAYED_BYTES_MAX, "granted memory stays");
        assert_eq!(of_one[9].resize(all), 0);
        drop((of_one, of_many));
        assert!(room.lock().is_empty());
    }

    #[test]
    fn small_stream_needs_no_delay_room() {
        let room = Arc::new(DelayRoom::default());
        let mut share = room.share(AccountId(Uuid::nil()));
        assert_eq!(share.resize(40 * 1024 * 1024), 0);
        for held_bytes in [KEPT_BYTES_MAX, 2 * KEPT_BYTES_MAX, DELAYED_BYTES_MAX] {
            let due = (KEPT_BYTES_MAX + share.resize(held_bytes)) / 7 * 6;
            assert!(due > held_bytes + 6_000_000, "nothing is due early: {due}");
        }
        assert_eq!(share.resize(0), 0);
        assert!(room.lock().is_empty(), "memory is returned");
    }
}
