use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::*;

const BOUNDS: Bounds = Bounds { running: 2, running_each: 2, waiting: 4, waiting_each: 3 };

type Taking<'a> = Pin<Box<dyn Future<Output = Result<Share<u8>, Full>> + Send + 'a>>;

/// Requests a permit and polls once.
fn ask(pool: &Arc<Shares<u8>>, key: u8) -> (Taking<'_>, Option<Result<Share<u8>, Full>>) {
    let mut taking: Taking<'_> = Box::pin(pool.take(key));
    let answer = poll_once(&mut taking);
    (taking, answer)
}

/// Polls once more.
fn poll_once(taking: &mut Taking<'_>) -> Option<Result<Share<u8>, Full>> {
    match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn hold(pool: &Arc<Shares<u8>>, key: u8) -> Share<u8> {
    ask(pool, key).1.expect("is free").expect("is free")
}

#[test]
fn new_key_is_served_before_the_queue_of_another() {
    let pool = Shares::new(BOUNDS);
    let first = hold(&pool, 1);
    let _second = hold(&pool, 1);
    let (mut crowd, none) = ask(&pool, 1);
    assert!(none.is_none(), "two run");
    let (mut newcomer, none) = ask(&pool, 2);
    assert!(none.is_none(), "two run");
    drop(first);
    assert!(poll_once(&mut crowd).is_none(), "one of the crowd runs already");
    let share = poll_once(&mut newcomer).expect("is next").expect("is next");
    drop(share);
    poll_once(&mut crowd).expect("is next").expect("is next");
}

#[test]
fn long_queues_take_turns_with_a_new_key() {
    let pool = Shares::new(Bounds { waiting: 16, ..BOUNDS });
    let mut running = VecDeque::from([hold(&pool, 1), hold(&pool, 2)]);
    let mut crowds: Vec<_> = [1, 2, 3, 1, 2, 3].map(|key| ask(&pool, key).0).into();
    let (mut newcomer, none) = ask(&pool, 4);
    assert!(none.is_none(), "two run");
    for served in 1.. {
        drop(running.pop_front());
        if poll_once(&mut newcomer).is_some() {
            assert!(served <= 2, "after {served}");
            break;
        }
        crowds.retain_mut(|waiting| {
            let share = poll_once(waiting);
            let waits = share.is_none();
            running.extend(share.map(|share| share.expect("is next")));
            waits
        });
    }
}

#[test]
fn one_key_takes_only_its_share() {
    let pool = Shares::new(Bounds { running_each: 1, ..BOUNDS });
    let _held = hold(&pool, 1);
    assert!(ask(&pool, 1).1.is_none(), "its share is taken");
    let _other = hold(&pool, 2);
}

#[test]
fn full_queue_refuses_at_once_and_makes_room_for_shorter_ones() {
    let pool = Shares::new(BOUNDS);
    let _held = [hold(&pool, 9), hold(&pool, 9)];
    let mut crowd: Vec<_> = (0..3).map(|_| ask(&pool, 1)).collect();
    assert_eq!(ask(&pool, 1).1.expect("at once").err(), Some(Full), "three of one key wait");
    let (_second, none) = ask(&pool, 2);
    assert!(none.is_none(), "the fourth waits");
    let (_third, none) = ask(&pool, 3);
    assert!(none.is_none(), "another key has its place");
    let (newest, _) = crowd.last_mut().expect("is one");
    assert_eq!(poll_once(newest).expect("was evicted").err(), Some(Full));
    assert!(poll_once(&mut crowd[0].0).is_none(), "the oldest still waits");
    // A second request of this key would make its queue as long as the others.
    assert_eq!(ask(&pool, 3).1.expect("at once").err(), Some(Full));
}

#[test]
fn cancelled_wait_leaves_no_state() {
    let pool = Shares::new(BOUNDS);
    let held = [hold(&pool, 1), hold(&pool, 2)];
    let lines: Vec<_> = [3, 3, 4].map(|key| ask(&pool, key)).into();
    drop(lines);
    let counted = || {
        let state = pool.lock();
        (state.running, state.waiting, state.keys.len())
    };
    assert_eq!(counted(), (2, 0, 2));
    drop(held);
    assert_eq!(counted(), (0, 0, 0));
}

#[test]
fn share_of_a_cancelled_wait_goes_to_the_next() {
    let pool = Shares::new(Bounds { running: 1, ..BOUNDS });
    let held = hold(&pool, 1);
    let (gone, _) = ask(&pool, 2);
    let (mut next, _) = ask(&pool, 3);
    drop(held);
    drop(gone);
    poll_once(&mut next).expect("is next").expect("is next");
}
