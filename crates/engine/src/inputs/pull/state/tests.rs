use super::*;

/// No jitter.
const MIDDLE: f64 = 0.5;

fn lost() -> Failure {
    Failure::ConnectionLost { host: "upstream.example".to_owned() }
}

fn seconds(state: &mut State, outcome: Outcome) -> u64 {
    state.on_outcome(outcome, MIDDLE).pause.as_secs()
}

#[test]
fn failures_in_a_row_wait_longer_until_a_stream_arrives() {
    let mut state = State::default();
    let pauses: Vec<_> = (0..4).map(|_| seconds(&mut state, Outcome::Failed(lost()))).collect();
    assert_eq!(pauses, [1, 2, 4, 8]);
    state.on_published();
    assert_eq!(seconds(&mut state, Outcome::Dropped(Some(lost()))), 1);
}

#[test]
fn silent_server_is_retried_soon_and_resets_the_backoff() {
    let mut state = State::default();
    seconds(&mut state, Outcome::Failed(lost()));
    let next = state.on_outcome(Outcome::Silent, MIDDLE);
    assert_eq!(next, Next { pause: RETRY_PAUSE, status: None });
    assert_eq!(seconds(&mut state, Outcome::Failed(lost())), 1);
}

#[test]
fn announced_stream_is_retried_with_backoff_up_to_ten_seconds() {
    let mut state = State::default();
    assert_eq!(seconds(&mut state, Outcome::NotPublished), 10);
    assert!(state.on_report(Upstream::Published), "connects at once");
    let pauses: Vec<_> = (0..6).map(|_| seconds(&mut state, Outcome::NotPublished)).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    assert!(!state.on_report(Upstream::Unpublished));
    assert_eq!(seconds(&mut state, Outcome::NotPublished), 10);
}

#[test]
fn stream_ended_by_its_owner_is_declined_until_it_starts_again_upstream() {
    for begins_again in [
        |state: &mut State| assert!(state.on_report(Upstream::Published)),
        |state: &mut State| {
            drop(state.on_outcome(Outcome::NotPublished, MIDDLE));
        },
    ] {
        let mut state = State::default();
        let next = state.on_outcome(Outcome::BroadcastEnded(EndReason::EndedByOwner), MIDDLE);
        assert_eq!(next.status, Some((PullState::Waiting, Some(error::ended_by_owner()))));
        assert!(!state.is_wanted());
        assert_eq!(state.on_connected(), None, "the reason stays shown");
        seconds(&mut state, Outcome::Unwanted);
        assert!(!state.is_wanted());
        begins_again(&mut state);
        assert!(state.is_wanted());
    }
}

#[test]
fn broadcast_ended_for_another_reason_is_pulled_again() {
    let mut state = State::default();
    let next = state.on_outcome(Outcome::BroadcastEnded(EndReason::EncoderLost), MIDDLE);
    assert_eq!(next, Next { pause: LIVENESS_INTERVAL, status: Some((PullState::Waiting, None)) });
    assert!(state.is_wanted());
    assert_eq!(state.on_connected(), Some(PullState::Waiting));
}

#[test]
fn refusal_stays_shown_while_connections_work() {
    let mut state = State::default();
    let error = RelayError { code: "too_many", message: "Too many streams.".to_owned() };
    let next = state.on_outcome(Outcome::Refused(error.clone()), MIDDLE);
    assert_eq!(next.status, Some((PullState::Failing, Some(error))));
    assert_eq!(state.on_connected(), None);
    seconds(&mut state, Outcome::Yielded);
    assert_eq!(state.on_connected(), Some(PullState::Waiting));
}

#[test]
fn server_that_closes_without_an_answer_is_retried_every_ten_seconds() {
    let mut state = State::default();
    let closed = || Outcome::Failed(Failure::KeyRejected { answer: Answer::default() });
    assert_eq!([(); 3].map(|()| seconds(&mut state, closed())), [10, 10, 10]);
    let refused = Failure::KeyRejected { answer: Answer { description: "not you".to_owned(), ..Answer::default() } };
    assert_eq!(seconds(&mut State::default(), Outcome::Failed(refused)), 30);
}
