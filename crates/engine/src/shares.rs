//! A pool of permits shared fairly by keys (accounts, addresses): how many run at once, and which key is next when all
//! are taken.
//!
//! The key with the fewest running permits is next; among equals, the one that was served longest ago. So many requests
//! of one key delay only that key, however many such keys there are. The number of waiting requests is bounded as well:
//! when there is no room, the longest queue loses its newest request.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The size of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Permits at once.
    pub running: usize,
    /// Permits of one key at once.
    pub running_each: usize,
    /// Waiting requests.
    pub waiting: usize,
    /// Waiting requests of one key.
    pub waiting_each: usize,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests are waiting already.")]
pub struct Full;

/// A pool and its queue.
#[derive(Debug)]
pub struct Shares<K: Copy + Eq + Hash> {
    bounds: Bounds,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Copy + Eq + Hash> {
    running: usize,
    waiting: usize,
    next_ticket: u64,
    /// Number of permits granted so far.
    grants: u64,
    keys: HashMap<K, Line<K>>,
}

/// The state of one key.
#[derive(Debug)]
struct Line<K: Copy + Eq + Hash> {
    running: usize,
    /// The number of its newest grant; 0 if it had none since it was idle.
    granted: u64,
    /// Oldest first.
    waiting: VecDeque<(u64, Reply<K>)>,
}

type Reply<K> = oneshot::Sender<Result<Share<K>, Full>>;

/// A permit to run; returned when dropped.
#[derive(Debug)]
pub struct Share<K: Copy + Eq + Hash> {
    pool: Arc<Shares<K>>,
    key: K,
}

/// A waiting request; leaves the queue when dropped.
struct Waiting<'a, K: Copy + Eq + Hash> {
    pool: &'a Shares<K>,
    key: K,
    ticket: u64,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// A pool of this size.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let state = State { running: 0, waiting: 0, next_ticket: 0, grants: 0, keys: HashMap::new() };
        Arc::new(Self { bounds, state: Mutex::new(state) })
    }

    /// Waits for a permit. [`Full`] immediately when the queue is full, or later when the request makes room for a key
    /// with a shorter queue.
    pub async fn take(self: &Arc<Self>, key: K) -> Result<Share<K>, Full> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.queue(key, answer)?;
        let _place = Waiting { pool: self, key, ticket };
        self.grant();
        answered.await.unwrap_or(Err(Full))
    }

    /// Joins the queue.
    fn queue(&self, key: K, answer: Reply<K>) -> Result<u64, Full> {
        let mut state = self.lock();
        let mine = state.keys.get(&key).map_or(0, |line| line.waiting.len());
        if mine >= self.bounds.waiting_each {
            return Err(Full);
        }
        let evicted = match state.waiting >= self.bounds.waiting {
            false => None,
            true => Some(state.evict(mine).ok_or(Full)?),
        };
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting += 1;
        state.keys.entry(key).or_default().waiting.push_back((ticket, answer));
        drop(state);
        if let Some(evicted) = evicted {
            let _ = evicted.send(Err(Full));
        }
        Ok(ticket)
    }

    /// Grants permits to all that may run now.
    fn grant(self: &Arc<Self>) {
        loop {
            // Sent without the lock: a reply without a receiver drops its permit, which takes the lock.
            let Some((key, answer)) = self.lock().next(self.bounds) else { return };
            let _ = answer.send(Ok(Share { pool: Arc::clone(self), key }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    /// The next request, counted as running.
    fn next(&mut self, bounds: Bounds) -> Option<(K, Reply<K>)> {
        if self.running >= bounds.running {
            return None;
        }
        let may = |line: &&mut Line<K>| line.running < bounds.running_each && !line.waiting.is_empty();
        let lines = self.keys.iter_mut().filter(|(_, line)| may(line));
        let order = |line: &Line<K>| (line.running, line.granted, line.waiting.front().map(|(ticket, _)| *ticket));
        let (&key, line) = lines.min_by_key(|(_, line)| order(line))?;
        let (_, answer) = line.waiting.pop_front()?;
        line.running += 1;
        self.running += 1;
        self.grants += 1;
        line.granted = self.grants;
        self.waiting -= 1;
        Some((key, answer))
    }

    /// Takes the newest request of the longest queue, if that queue is longer than `mine + 1`.
    fn evict(&mut self, mine: usize) -> Option<Reply<K>> {
        let longest = self.keys.values_mut().max_by_key(|line| line.waiting.len())?;
        if longest.waiting.len() <= mine + 1 {
            return None;
        }
        let (_, answer) = longest.waiting.pop_back()?;
        self.waiting -= 1;
        Some(answer)
    }

    fn forget_if_idle(&mut self, key: K) {
        if self.keys.get(&key).is_some_and(|line| line.running == 0 && line.waiting.is_empty()) {
            self.keys.remove(&key);
        }
    }
}

impl<K: Copy + Eq + Hash> Default for Line<K> {
    fn default() -> Self {
        Self { running: 0, granted: 0, waiting: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.running -= 1;
        if let Some(line) = state.keys.get_mut(&self.key) {
            line.running -= 1;
        }
        state.forget_if_idle(self.key);
        drop(state);
        self.pool.grant();
    }
}

impl<K: Copy + Eq + Hash> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let Some(line) = state.keys.get_mut(&self.key) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|(ticket, _)| *ticket != self.ticket);
        let left = before - line.waiting.len();
        state.waiting -= left;
        state.forget_if_idle(self.key);
    }
}

#[cfg(test)]
mod tests;
