//! The queue from the engine to the history. It is bounded, sending never waits, and accounts share it fairly.
//!
//! When it is full, the account with the most events in it loses one: first an event of its relays, which is a detail,
//! then one of its streams, which the history repairs from the list of live streams. The reader serves the accounts in
//! turn.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::event::EngineEvent;
use crate::spec::{AccountId, StreamId};

/// Losses come by the thousand; they are logged together, once per interval.
const LOSS_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A queue for at most `capacity` events.
pub fn channel(capacity: usize) -> (EventSender, EventReceiver) {
    let queue = Arc::new(Queue { capacity, waiting: Mutex::default(), some: Notify::new() });
    (EventSender(Arc::new(CloseOnDrop(Arc::clone(&queue)))), EventReceiver(queue))
}

/// The sending side. The queue closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct EventSender(Arc<CloseOnDrop>);

/// A sender for the events of one account's streams and relays.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    account: AccountId,
    sender: EventSender,
}

/// The receiving side, for the history.
#[derive(Debug)]
pub struct EventReceiver(Arc<Queue>);

#[derive(Debug)]
struct CloseOnDrop(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    capacity: usize,
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    accounts: HashMap<AccountId, Backlog>,
    /// Accounts with a backlog, in the order in which they are served.
    turns: VecDeque<AccountId>,
    len: usize,
    /// Events so far; numbers them in order.
    count: u64,
    is_closed: bool,
    loss: Loss,
}

/// The events of one account; each half is in order.
#[derive(Debug, Default)]
struct Backlog {
    streams: VecDeque<(u64, EngineEvent)>,
    details: VecDeque<(u64, EngineEvent)>,
}

#[derive(Debug, Default)]
struct Loss {
    total: u64,
    /// Not logged yet.
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl EventSender {
    pub(crate) fn of(&self, account: AccountId) -> EventSink {
        EventSink { account, sender: self.clone() }
    }

    /// Events lost because the queue was full or the history could not write them.
    pub(crate) fn lost(&self) -> u64 {
        self.0.0.lock().loss.total
    }
}

impl EventSink {
    pub(crate) fn send(&self, event: EngineEvent) {
        let queue = &self.sender.0.0;
        let mut waiting = queue.lock();
        if waiting.is_closed {
            return;
        }
        waiting.push(self.account, event);
        if waiting.len > queue.capacity {
            waiting.evict(self.account);
            waiting.loss.add(1, Instant::now());
        }
        debug_assert!(waiting.len <= queue.capacity);
        drop(waiting);
        queue.some.notify_one();
    }
}

impl EventReceiver {
    /// The next event; `None` once everything was read and the engine is gone or the queue was closed. Cancel safe.
    pub async fn recv(&mut self) -> Option<EngineEvent> {
        loop {
            {
                let mut waiting = self.0.lock();
                waiting.loss.log_if_due(Instant::now());
                if let Some(event) = waiting.pop() {
                    return Some(event);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.0.some.notified().await;
        }
    }

    /// Accepts no more events; those in the queue can still be read.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// The streams with events in the queue: their events are late, not lost.
    pub fn waiting(&self) -> HashSet<StreamId> {
        let waiting = self.0.lock();
        let backlogs = waiting.accounts.values();
        backlogs
            .flat_map(|backlog| backlog.streams.iter().chain(&backlog.details))
            .map(|(_, event)| event.stream())
            .collect()
    }

    /// Counts an event that the reader could not keep.
    pub fn lose(&self) {
        self.0.lock().loss.add(1, Instant::now());
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Queue {
    fn close(&self) {
        self.lock().is_closed = true;
        self.some.notify_one();
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, account: AccountId, event: EngineEvent) {
        let backlog = self.accounts.entry(account).or_insert_with(|| {
            self.turns.push_back(account);
            Backlog::default()
        });
        let half = if event.is_detail() { &mut backlog.details } else { &mut backlog.streams };
        half.push_back((self.count, event));
        self.count += 1;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<EngineEvent> {
        let account = self.turns.pop_front()?;
        let backlog = self.accounts.get_mut(&account)?;
        let event = backlog.pop();
        if backlog.len() > 0 {
            self.turns.push_back(account);
        } else {
            self.accounts.remove(&account);
        }
        self.len -= usize::from(event.is_some());
        event
    }

    /// The account with the most events loses its newest detail. Among equals, it is the account that sends now.
    fn evict(&mut self, sending: AccountId) {
        let longest = self.accounts.iter().max_by_key(|(account, backlog)| (backlog.len(), **account == sending));
        let Some((&account, _)) = longest else { return };
        let Some(backlog) = self.accounts.get_mut(&account) else { return };
        let gone = backlog.details.pop_back().or_else(|| backlog.streams.pop_back());
        self.len -= usize::from(gone.is_some());
        if backlog.len() == 0 {
            self.accounts.remove(&account);
            self.turns.retain(|other| *other != account);
        }
    }
}

impl Backlog {
    fn len(&self) -> usize {
        self.streams.len() + self.details.len()
    }

    /// The older of both halves' oldest events.
    fn pop(&mut self) -> Option<EngineEvent> {
        let number = |half: &VecDeque<(u64, EngineEvent)>| half.front().map_or(u64::MAX, |(number, _)| *number);
        let half = if number(&self.streams) < number(&self.details) { &mut self.streams } else { &mut self.details };
        half.pop_front().map(|(_, event)| event)
    }
}

impl Loss {
    fn add(&mut self, count: u64, now: Instant) {
        self.total += count;
        self.unlogged += count;
        self.log_if_due(now);
    }

    /// Logs the number of losses, at most once per interval.
    fn log_if_due(&mut self, now: Instant) {
        let is_due = self.logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOSS_LOG_INTERVAL);
        if self.unlogged == 0 || !is_due {
            return;
        }
        let lost = std::mem::take(&mut self.unlogged);
        self.logged_at = Some(now);
        tracing::error!(
            history.lost = lost,
            "Events of the busiest accounts were not written to the history; the database may be slow."
        );
    }
}

#[cfg(test)]
mod tests;
