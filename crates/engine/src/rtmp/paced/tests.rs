use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Both ends of a connection; ours is read at the pace.
async fn connected(pause: Duration) -> (TcpStream, PacedStream, Pace) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let client = TcpStream::connect(listener.local_addr().expect("is bound")).await.expect("connects");
    client.set_nodelay(true).expect("is TCP");
    let (server, _) = listener.accept().await.expect("accepts");
    let pace = Pace::default();
    pace.set(pause);
    (client, PacedStream::new(server, pace.clone()), pace)
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn pieces_are_collected_until_their_time() {
    let (mut client, mut paced, _) = connected(LONG).await;
    paced.near = Duration::ZERO;
    tokio::time::sleep_until(next_wake(Instant::now(), LONG)).await;
    let due = next_wake(Instant::now(), LONG);
    let pieces = async {
        for piece in [b"one", b"two", b"six"] {
            client.write_all(piece).await.expect("writes");
        }
    };
    let mut read = [0; 100];
    let (got, ()) = tokio::join!(paced.read(&mut read), pieces);
    assert_eq!(got.expect("reads"), 9);
    let early = due - Instant::now();
    assert!(early <= FIRST_LOOK, "read {early:?} before its time");
    // An encoder that is near has more at once when it is acknowledged, one that is further away until the second look.
    for (piece, within) in [(b"near", Duration::ZERO), (b"more", Duration::ZERO), (b"away", 2 * FIRST_LOOK)] {
        if !within.is_zero() {
            let nothing = tokio::time::timeout(Duration::ZERO, paced.read(&mut read)).await;
            assert!(nothing.is_err(), "nothing is there yet");
        }
        client.write_all(piece).await.expect("writes");
        while SockRef::from(&paced.stream).peek(&mut [std::mem::MaybeUninit::uninit()]).is_err() {}
        let looked = Instant::now();
        assert_eq!(paced.read(&mut read).await.expect("reads"), 4);
        assert!(looked.elapsed() <= within, "{:?}", looked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn much_at_once_is_read_before_its_time() {
    let (mut client, mut paced, _) = connected(LONG).await;
    let begun = Instant::now();
    let all = vec![7; 3 * LOW_WATER_BYTES as usize];
    let mut read = vec![0; all.len()];
    let (wrote, got) = tokio::join!(client.write_all(&all), paced.read(&mut read));
    wrote.expect("writes");
    assert!(got.expect("reads") > 0);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_at_once() {
    let (client, mut paced, _) = connected(LONG).await;
    let begun = Instant::now();
    drop(client);
    assert_eq!(paced.read(&mut [0; 10]).await.expect("reads"), 0);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_pause_everything_is_read_as_it_comes() {
    let (mut client, mut paced, pace) = connected(LONG).await;
    client.write_all(b"before").await.expect("writes");
    let mut read = [0; 10];
    assert_eq!(paced.read(&mut read).await.expect("reads"), 6);
    pace.set(Duration::ZERO);
    for piece in [b"a", b"b"] {
        client.write_all(piece).await.expect("writes");
        let begun = Instant::now();
        assert_eq!(paced.read(&mut read).await.expect("reads"), 1);
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    }
}

#[test]
fn short_pauses_are_none() {
    let pace = Pace::default();
    for (pause_ms, paced) in [(40, true), (16, true), (15, false), (0, false)] {
        pace.set(Duration::from_millis(pause_ms));
        assert_eq!(!pace.get().is_zero(), paced, "{pause_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_the_tick_where_an_encoder_is_looked_at_before_it() {
    let (mut client, mut paced, pace) = connected(TICK).await;
    let mut read = [0; 10];
    for (near, on_ticks) in [(Duration::ZERO, false), (Duration::MAX, true), (Duration::ZERO, false)] {
        paced.near = near;
        // The first look that is due plans the next one with it.
        for piece in [b"one", b"two", b"six"] {
            client.write_all(piece).await.expect("writes");
            tokio::time::advance(2 * TICK).await;
            assert_eq!(paced.read(&mut read).await.expect("reads"), 3);
        }
        assert_eq!(pace.is_on_ticks(), on_ticks);
    }
}
