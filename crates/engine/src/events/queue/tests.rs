use std::time::SystemTime;

use uuid::Uuid;

use super::*;
use crate::{
    events::{EndReason, RelayTotals},
    spec::{DestinationId, ProjectId, RelayId},
};

const PROJECT: ProjectId = ProjectId(Uuid::nil());

fn account(n: u128) -> AccountId {
    AccountId(Uuid::from_u128(n))
}

fn started(n: u128) -> EngineEvent {
    EngineEvent::StreamStarted { project: PROJECT, stream: StreamId(Uuid::from_u128(n)), at: SystemTime::UNIX_EPOCH }
}

fn ended(n: u128) -> EngineEvent {
    let (stream, reason) = (StreamId(Uuid::from_u128(n)), EndReason::EncoderStopped);
    EngineEvent::StreamEnded { project: PROJECT, stream, at: SystemTime::UNIX_EPOCH, reason }
}

fn relay_ended(n: u128) -> EngineEvent {
    let (stream, relay) = (StreamId(Uuid::from_u128(n)), RelayId::primary(DestinationId(Uuid::nil())));
    let totals = RelayTotals::default();
    EngineEvent::RelayEnded { project: PROJECT, stream, relay, at: SystemTime::UNIX_EPOCH, totals }
}

async fn rest(mut receiver: EventReceiver) -> Vec<EngineEvent> {
    receiver.close();
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn full_queue_loses_events_of_the_account_with_the_most() {
    let (sender, receiver) = channel(256);
    let (noisy, quiet) = (sender.of(account(1)), sender.of(account(2)));
    for n in 0..500 {
        noisy.send(started(n));
        noisy.send(relay_ended(n));
        noisy.send(ended(n));
    }
    let of_quiet = [started(9_001), relay_ended(9_001), ended(9_001)];
    for event in of_quiet.clone() {
        quiet.send(event);
        noisy.send(ended(1));
    }
    assert_eq!(sender.lost(), 1_500 + 6 - 256);
    let events = rest(receiver).await;
    assert_eq!(events.len(), 256);
    let kept: Vec<_> = events.iter().filter(|event| event.stream().0.as_u128() == 9_001).cloned().collect();
    assert_eq!(kept, of_quiet, "in their order");
}

#[tokio::test]
async fn stream_events_replace_relay_events_in_a_full_queue() {
    let (sender, receiver) = channel(256);
    let sink = sender.of(account(1));
    for n in 0..1_000 {
        sink.send(relay_ended(n));
    }
    for n in 0..256 {
        sink.send(started(n));
    }
    let events = rest(receiver).await;
    assert!(events.len() == 256 && events.iter().all(|event| matches!(event, EngineEvent::StreamStarted { .. })));
}

#[tokio::test]
async fn reader_takes_one_event_of_each_account_in_turn() {
    let (sender, receiver) = channel(256);
    for n in 0..100 {
        sender.of(account(1)).send(started(n));
    }
    sender.of(account(2)).send(started(9_002));
    sender.of(account(3)).send(started(9_003));
    let first: Vec<_> = rest(receiver).await.iter().take(4).map(|event| event.stream().0.as_u128()).collect();
    assert_eq!(first, [0, 9_002, 9_003, 1]);
}

#[tokio::test]
async fn many_small_accounts_leave_room_for_another() {
    let (sender, receiver) = channel(64);
    for n in 0..32 {
        sender.of(account(n)).send(started(n));
        sender.of(account(n)).send(ended(n));
    }
    sender.of(account(99)).send(started(99));
    assert_eq!(sender.lost(), 1);
    let waiting = receiver.waiting();
    assert!(waiting.contains(&StreamId(Uuid::from_u128(99))));
    assert_eq!(rest(receiver).await.len(), 64);
}

#[tokio::test]
async fn queue_closes_with_the_engine() {
    let (sender, mut receiver) = channel(2);
    let sink = sender.of(account(1));
    drop(sender);
    sink.send(started(1));
    drop(sink);
    assert_eq!(receiver.recv().await, Some(started(1)));
    assert_eq!(receiver.recv().await, None);
}

#[test]
fn losses_are_logged_once_a_second_and_counted() {
    let (mut loss, now) = (Loss::default(), Instant::now());
    for n in 0..1_000 {
        loss.add(1, now + Duration::from_micros(n));
    }
    assert_eq!((loss.total, loss.unlogged, loss.logged_at), (1_000, 999, Some(now)), "the first loss was logged");
    loss.log_if_due(now + Duration::from_millis(999));
    assert_eq!(loss.unlogged, 999);
    loss.log_if_due(now + LOSS_LOG_INTERVAL);
    assert_eq!((loss.total, loss.unlogged), (1_000, 0), "and the other losses together");
}
