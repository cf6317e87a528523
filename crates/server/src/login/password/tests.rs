use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::*;

fn hasher() -> Hasher {
    Passwords::default().of(None)
}

#[test]
fn weak_and_unhashable_passwords_are_refused() {
    for (password, part) in [
        ("short", "at least 8"),
        ("password", "easy to guess"),
        ("12345678", "easy to guess"),
        ("me@example.org", "easy to guess"),
        ("aaaaaaaaaaaa", "easy to guess"),
        (&"a".repeat(70), "easy to guess"),
        (&"password".repeat(8), "easy to guess"),
        ("nul\0nul tree lamp", "null"),
    ] {
        let sentence = check(password, "me@example.org").expect_err(password);
        assert!(sentence.contains(part), "{password}: {sentence}");
    }
    assert!(check(&"ä lamp tree 7".repeat(6), "me@example.org").expect_err("long").contains("71 bytes"));
    check("quiet lamp under rain", "me@example.org").expect("good");
}

#[test]
fn a_long_password_is_as_strong_as_its_strongest_part() {
    let weak = "a".repeat(JUDGED_CHARS);
    check(&weak, "me@example.org").expect_err("the first part alone");
    check(&format!("{weak}quiet lamp under rain"), "me@example.org").expect("the second is good");
    check("quiet lamp under rain, then aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "me@example.org").expect("the first is good");
}

/// The reference is the duration of a hash on the same machine, so the speed of the machine does not matter.
#[test]
fn the_worst_password_takes_at_most_as_long_to_judge_as_some_hashes() {
    let timed = |work: &dyn Fn()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let shortest = |work: &dyn Fn()| (0..3).map(|_| timed(work)).min().expect("is one");
    let hash = shortest(&|| drop(bcrypt::non_truncating_hash("quiet lamp under rain", COST)));
    let letters = "4@8({[<369|1!/5$0%7+2".repeat(4);
    for worst in [&letters[..BYTES_MAX], &"a".repeat(BYTES_MAX), &"qwertyuiop".repeat(7), &"2019".repeat(17)] {
        let judged = shortest(&|| drop(check(worst, &letters.repeat(800))));
        assert!(judged < hash * 4, "{worst}: {judged:?}, and {hash:?} for a hash");
    }
}

#[tokio::test]
async fn hashes_verify_and_passwords_are_not_truncated() {
    let passwords = hasher();
    let longest = "x".repeat(BYTES_MAX);
    let hash = passwords.hash(longest.clone()).await.expect("hashes");
    assert!(hash.starts_with("$2b$12$"), "{hash}");
    assert!(passwords.verify(longest.clone(), Some(hash.clone())).await.expect("verifies"));
    assert!(!passwords.verify(format!("{longest}y"), Some(hash.clone())).await.expect("verifies"));
    assert!(!passwords.verify("x".repeat(70), Some(hash)).await.expect("verifies"));
    assert!(passwords.hash("x".repeat(72)).await.is_err(), "refused, not cut");
}

#[tokio::test]
async fn verifying_for_a_missing_account_computes_a_hash_too() {
    assert!(!hasher().verify(String::new(), None).await.expect("the dummy is a real hash"));
}

#[tokio::test]
async fn a_client_that_fills_the_queue_is_refused_and_delays_no_other() {
    let passwords = Passwords::default();
    let mut crowd = JoinSet::new();
    for n in 0..100 {
        // All prefixes belong to one subscriber.
        let hasher = passwords.of(Some(format!("2001:db8:0:{n:x}::1").parse().expect("is an address")));
        crowd.spawn(async move { hasher.verify("x".to_owned(), None).await });
    }
    let (mut refused, mut verified) = (0, 0);
    let count = |done: Result<bool, Error>, refused: &mut u32, verified: &mut u32| match done {
        Err(Error::Busy(Full)) => *refused += 1,
        done => *verified += u32::from(!done.expect("verifies")),
    };
    while refused < 60 {
        count(crowd.join_next().await.expect("is one").expect("does not panic"), &mut refused, &mut verified);
    }
    assert!(verified <= 4, "refused at once, and not when the line is over: {verified}");
    let before = crowd.len();
    let other = passwords.of(Some([192, 0, 2, 1].into()));
    assert!(!other.verify("x".to_owned(), None).await.expect("comes next"));
    while let Some(done) = crowd.try_join_next() {
        count(done.expect("does not panic"), &mut refused, &mut verified);
    }
    assert!(crowd.len() + 12 > before, "it waited for one or two hashes and not for {}", before - crowd.len());
}

#[tokio::test]
async fn known_client_does_not_wait_for_unknown_clients_from_many_addresses() {
    let passwords = Passwords::default();
    let mut crowd = JoinSet::new();
    for n in 0..40 {
        let hasher = passwords.of(Some([192, 0, 2, n].into()));
        crowd.spawn(async move { hasher.verify("x".to_owned(), None).await });
    }
    assert!(!crowd.join_next().await.expect("is one").expect("does not panic").expect("has a turn"));
    let before = crowd.len();
    let known = passwords.of_known(Uuid::new_v4(), Some([192, 0, 2, 1].into()));
    assert!(!known.verify("x".to_owned(), None).await.expect("has a turn"));
    assert!(crowd.len() + 8 > before, "{} unknown clients came first", before - crowd.len());
    assert!(crowd.len() + 8 > before, "{} strangers came first", before - crowd.len());
}

#[tokio::test]
async fn known_clients_of_too_many_accounts_wait_with_unknown_clients() {
    let passwords = Passwords::default();
    let mut crowd = JoinSet::new();
    for _ in 0..KNOWN.waiting + 8 {
        let hasher = passwords.of_known(Uuid::new_v4(), Some([192, 0, 2, 1].into()));
        crowd.spawn(async move { hasher.verify("x".to_owned(), None).await });
    }
    // All of them are queued before the next one comes.
    tokio::task::yield_now().await;
    let before = crowd.len();
    let other = passwords.of_known(Uuid::new_v4(), Some([192, 0, 2, 2].into()));
    assert!(!other.verify("x".to_owned(), None).await.expect("has a turn, if not among the known"));
    while let Some(done) = crowd.try_join_next() {
        assert!(!done.expect("does not panic").expect("none is refused"));
    }
    assert!(crowd.len() + 8 > before, "{} came first", before - crowd.len());
}

#[test]
fn hashing_does_not_use_the_blocking_thread_pool() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.expect("starts");
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    runtime.block_on(async {
        let blocked = tokio::task::spawn_blocking(move || held.recv());
        let verified = tokio::time::timeout(Duration::from_secs(30), hasher().verify(String::new(), None)).await;
        assert!(!verified.expect("has a thread").expect("verifies"));
        drop(release);
        blocked.await.expect("ends").expect_err("was released");
    });
}
