//! Schedules with a simulated clock, and random sequences of events.

use proptest::prelude::*;

use super::*;
use crate::rtmp::{certificate::CertificateProblem, error::Answer};

fn lost() -> Event {
    Event::Lost(Failure::ConnectionLost { host: "h".to_owned() })
}

fn refused() -> Event {
    Event::Lost(Failure::KeyRejected { answer: Answer::default() })
}

fn wait(action: Action, now: Instant) -> Duration {
    match action {
        Action::Wait { until } => until - now,
        other => panic!("waits, not {other:?}"),
    }
}

/// A relay and its clock.
struct Story {
    state: State,
    now: Instant,
}

impl Story {
    fn connecting() -> Self {
        let now = Instant::now();
        let mut story = Self { state: State::new(now), now };
        assert_eq!(story.on(Event::Begin), Action::Connect);
        story
    }

    fn on(&mut self, event: Event) -> Action {
        self.state.on(event, self.now, 0.5)
    }

    fn fails(&mut self, event: Event) -> u64 {
        let waited = wait(self.on(event), self.now);
        self.now += waited;
        assert_eq!(self.on(Event::Due), Action::Connect);
        waited.as_secs()
    }

    fn live_for(&mut self, seconds: u64) {
        self.on(Event::Accepted);
        self.on(Event::Published);
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn trouble_backs_off_and_a_good_minute_resets() {
    let mut story = Story::connecting();
    let waits: Vec<_> = (0..7).map(|_| story.fails(lost())).collect();
    assert_eq!(waits, [1, 2, 4, 8, 15, 30, 30]);
    assert_eq!(story.state.attempt(), 8);
    story.live_for(59);
    assert_eq!(story.fails(lost()), 30);
    story.live_for(60);
    assert_eq!(story.fails(lost()), 1);
    assert_eq!(story.state.attempt(), 1);
    assert_eq!(story.state.reconnects(), &BTreeMap::from([("connection_lost", 2)]));
}

#[test]
fn slow_relay_is_degraded_until_it_catches_up() {
    let slow = |host: &str| Slow::Server { host: host.to_owned() };
    let mut story = Story::connecting();
    assert_eq!(story.on(Event::Behind(slow("h"))), Action::Nothing);
    assert_eq!(story.state.phase(), Phase::Connecting, "it is not live yet");
    story.live_for(5);
    let since = story.state.since();
    story.on(Event::Behind(slow("h")));
    assert_eq!((story.state.phase(), story.state.slow()), (Phase::Degraded, Some(&slow("h"))));
    let degraded = story.state.since();
    story.now += Duration::from_secs(5);
    story.on(Event::Behind(slow("another")));
    assert_eq!(
        (story.state.since(), story.state.slow()),
        (degraded, Some(&slow("another"))),
        "another reason, same beginning"
    );
    assert!(degraded > since);
    story.on(Event::Stuck);
    assert_eq!((story.state.phase(), story.state.slow()), (Phase::Stalled, None));
    story.on(Event::Progress);
    story.on(Event::Behind(slow("h")));
    story.on(Event::CaughtUp);
    assert_eq!((story.state.phase(), story.state.slow()), (Phase::Live, None));
    story.on(Event::Behind(slow("h")));
    assert_eq!(story.fails(lost()), 1);
    assert_eq!(story.state.reconnects(), &BTreeMap::from([("connection_lost", 1)]), "it was live before");
}

#[test]
fn refusal_is_rejected_and_retried_slowly() {
    let mut story = Story::connecting();
    let waits: Vec<_> = (0..5).map(|_| story.fails(refused())).collect();
    assert_eq!(waits, [30, 60, 120, 300, 300]);
    story.on(refused());
    assert!(matches!(story.state.phase(), Phase::Rejected { .. }));
    assert_eq!(story.on(Event::RetryNow), Action::Connect);
    assert_eq!(story.fails(lost()), 1, "another schedule starts at its beginning");
}

#[test]
fn third_early_end_counts_as_a_refusal() {
    let mut story = Story::connecting();
    for expected in ["connection_lost", "connection_lost", "closed_early"] {
        story.live_for(2);
        story.fails(lost());
        assert_eq!(story.state.last_failure().map(Failure::code), Some(expected));
    }
    story.live_for(6);
    story.fails(lost());
    assert_eq!(story.state.last_failure().map(Failure::code), Some("connection_lost"));
}

#[test]
fn end_before_the_first_acknowledgement_is_early_too() {
    let mut story = Story::connecting();
    for expected in ["connection_lost", "connection_lost", "closed_early"] {
        story.on(Event::Accepted);
        story.fails(lost());
        assert_eq!(story.state.last_failure().map(Failure::code), Some(expected));
    }
    assert!(story.state.reconnects().is_empty(), "it was never live");
}

#[test]
fn changed_format_connects_again_at_once() {
    let mut story = Story::connecting();
    story.live_for(1);
    assert_eq!(story.on(Event::Lost(Failure::FormatChanged)), Action::Connect);
    assert_eq!(story.state.phase(), Phase::Connecting);
}

#[test]
fn immediate_reconnects_are_limited() {
    let mut story = Story::connecting();
    for (seconds, at_once) in [(1, true), (1, false), (1, false), (6, true), (4, false)] {
        story.live_for(seconds);
        let action = story.on(Event::Lost(Failure::Moved));
        assert_eq!(action == Action::Connect, at_once, "after {seconds} s");
        if let Action::Wait { until } = action {
            story.now = until;
            story.on(Event::Due);
        }
    }
}

#[test]
fn stall_is_shown_and_cleared() {
    let mut story = Story::connecting();
    story.live_for(1);
    story.on(Event::Stuck);
    assert_eq!(story.state.phase(), Phase::Stalled);
    story.on(Event::Progress);
    assert_eq!(story.state.phase(), Phase::Live);
}

#[derive(Clone, Debug)]
enum Input {
    Event(Event),
    Seconds(u64),
}

fn input() -> impl Strategy<Value = Input> {
    let host = || "h".to_owned();
    prop_oneof![
        Just(Input::Event(Event::Begin)),
        Just(Input::Event(Event::Accepted)),
        Just(Input::Event(Event::Published)),
        Just(Input::Event(Event::Stuck)),
        Just(Input::Event(Event::Progress)),
        Just(Input::Event(Event::Behind(Slow::Server { host: host() }))),
        Just(Input::Event(Event::CaughtUp)),
        Just(Input::Event(lost())),
        Just(Input::Event(refused())),
        Just(Input::Event(Event::Lost(Failure::KeyInUse { answer: Answer::default() }))),
        Just(Input::Event(Event::Lost(Failure::Stalled { host: host() }))),
        Just(Input::Event(Event::Lost(Failure::FormatChanged))),
        Just(Input::Event(Event::Due)),
        Just(Input::Event(Event::RetryNow)),
        (0_u64..100).prop_map(Input::Seconds),
    ]
}

proptest! {
    /// Invariants for any order of events: there is never a second connection beside the first, a waiting relay has a
    /// time to wait for, and from every state a relay can be live again.
    #[test]
    fn no_sequence_of_events_gets_stuck_or_connects_twice(story in prop::collection::vec((input(), 0.0..1.0), 0..200)) {
        let mut now = Instant::now();
        let mut state = State::new(now);
        let mut connected = false;
        for (input, jitter) in story {
            let event = match input {
                Input::Seconds(seconds) => {
                    now += Duration::from_secs(seconds);
                    continue;
                }
                Input::Event(event) => event,
            };
            // A lost connection is closed before the state machine gets the event.
            if matches!(event, Event::Lost(_)) {
                connected = false;
            }
            match state.on(event, now, jitter) {
                Action::Connect => {
                    prop_assert!(!connected, "two connections");
                    connected = true;
                }
                Action::Wait { until } => {
                    prop_assert!(until > now && until <= now + Duration::from_secs(360));
                    prop_assert!(!connected);
                }
                Action::Nothing => {}
            }
            let holds = matches!(state.phase(), Phase::Connecting | Phase::Live | Phase::Degraded | Phase::Stalled);
            if !holds {
                prop_assert!(!connected, "a connection without a connected state");
            }
            connected = holds;
            prop_assert!(state.since() <= now);
        }
        for event in [Event::Begin, Event::Due, Event::Accepted, Event::Published, Event::Progress, Event::CaughtUp] {
            state.on(event, now, 0.5);
        }
        prop_assert_eq!(state.phase(), Phase::Live);
    }
}

/// Every failure, with the phase that it leads to and the waits when it repeats, in seconds.
fn schedules() -> Vec<(Failure, &'static str, &'static [u64])> {
    const TROUBLE: &[u64] = &[1, 2, 4, 8, 15, 30, 30];
    const REFUSAL: &[u64] = &[30, 60, 120, 300, 300];
    const BUSY: &[u64] = &[5, 10, 30, 30];
    let host = || "h".to_owned();
    let answer = Answer::default;
    vec![
        (Failure::Dns { host: host() }, "backoff", TROUBLE),
        (Failure::NoNameServer { host: host() }, "backoff", TROUBLE),
        (Failure::TooManyLookups { host: host() }, "backoff", TROUBLE),
        (Failure::Forbidden { host: host() }, "rejected", REFUSAL),
        (Failure::ForbiddenPort { host: host(), port: 25 }, "rejected", REFUSAL),
        (Failure::ConnectionRefused { host: host() }, "backoff", TROUBLE),
        (Failure::Unreachable { host: host() }, "backoff", TROUBLE),
        (Failure::Certificate { host: host(), problem: CertificateProblem::UnknownIssuer }, "backoff", TROUBLE),
        (Failure::Tls { host: host() }, "backoff", TROUBLE),
        (Failure::NotRtmp { host: host() }, "backoff", TROUBLE),
        (Failure::NoAnswer { host: host() }, "backoff", TROUBLE),
        (Failure::LargePacketsLost { host: host() }, "backoff", TROUBLE),
        (Failure::RedirectLoop { host: host() }, "backoff", TROUBLE),
        (Failure::ConnectRejected { answer: answer() }, "rejected", REFUSAL),
        (Failure::LoginRejected, "rejected", REFUSAL),
        (Failure::KeyRejected { answer: answer() }, "rejected", REFUSAL),
        (Failure::KeyInUse { answer: answer() }, "backoff", BUSY),
        (Failure::EndedByPlatform { answer: answer() }, "backoff", TROUBLE),
        (Failure::ConnectionLost { host: host() }, "backoff", TROUBLE),
        (Failure::ClosedEarly { host: host() }, "rejected", REFUSAL),
        (Failure::Stalled { host: host() }, "backoff", TROUBLE),
        (Failure::InsecureRedirect { host: host() }, "rejected", REFUSAL),
    ]
}

#[test]
fn each_failure_waits_by_its_schedule() {
    for (failure, phase, waits) in schedules() {
        for jitter in [0.0, 0.5, 1.0] {
            let mut now = Instant::now();
            let mut state = State::new(now);
            state.on(Event::Begin, now, jitter);
            for &seconds in waits {
                let Action::Wait { until } = state.on(Event::Lost(failure.clone()), now, jitter) else {
                    panic!("{failure:?} waits")
                };
                let expected = Duration::from_secs(seconds).mul_f64(0.8 + 0.4 * jitter);
                assert_eq!(until - now, expected, "{failure:?}");
                let in_phase = match state.phase() {
                    Phase::Backoff { until } => ("backoff", until),
                    Phase::Rejected { until } => ("rejected", until),
                    other => panic!("{failure:?} leads to {other:?}"),
                };
                assert_eq!(in_phase, (phase, until), "{failure:?}");
                now = until;
                assert_eq!(state.on(Event::Due, now, jitter), Action::Connect);
            }
        }
    }
}
