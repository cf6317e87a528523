use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// A client and the paced socket at the other end of its connection.
async fn connected(pause: Duration) -> (TcpStream, PacedStream, ReadInterval) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let client = TcpStream::connect(listener.local_addr().expect("is bound")).await.expect("connects");
    client.set_nodelay(true).expect("is TCP");
    let (server, _) = listener.accept().await.expect("accepts");
    let read_interval = ReadInterval::default();
    read_interval.set(pause);
    (client, PacedStream::new(server, read_interval.clone()), read_interval)
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn pieces_are_collected_for_an_interval() {
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
    assert!(early <= EARLY_READ, "read {early:?} before its time");
    // A near encoder's bytes are read at once after an acknowledgement, a distant one's at the second read.
    for (piece, within) in [(b"near", Duration::ZERO), (b"more", Duration::ZERO), (b"away", 2 * EARLY_READ)] {
        if !within.is_zero() {
            let nothing = tokio::time::timeout(Duration::ZERO, paced.read(&mut read)).await;
            assert!(nothing.is_err(), "nothing is there yet");
        }
        client.write_all(piece).await.expect("writes");
        while SockRef::from(&paced.stream).peek(&mut [std::mem::MaybeUninit::uninit()]).is_err() {}
        let began = Instant::now();
        assert_eq!(paced.read(&mut read).await.expect("reads"), 4);
        assert!(began.elapsed() <= within, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn large_amounts_are_read_early() {
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
async fn end_of_the_stream_is_read_at_once() {
    let (client, mut paced, _) = connected(LONG).await;
    let begun = Instant::now();
    drop(client);
    assert_eq!(paced.read(&mut [0; 10]).await.expect("reads"), 0);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_bytes_are_read_on_arrival() {
    let (mut client, mut paced, read_interval) = connected(LONG).await;
    client.write_all(b"before").await.expect("writes");
    let mut read = [0; 10];
    assert_eq!(paced.read(&mut read).await.expect("reads"), 6);
    read_interval.set(Duration::ZERO);
    for piece in [b"a", b"b"] {
        client.write_all(piece).await.expect("writes");
        let begun = Instant::now();
        assert_eq!(paced.read(&mut read).await.expect("reads"), 1);
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    }
}

#[test]
fn short_intervals_count_as_none() {
    let read_interval = ReadInterval::default();
    for (pause_ms, paced) in [(40, true), (16, true), (15, false), (0, false)] {
        read_interval.set(Duration::from_millis(pause_ms));
        assert_eq!(!read_interval.get().is_zero(), paced, "{pause_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn early_reads_are_not_on_ticks() {
    let (mut client, mut paced, read_interval) = connected(TICK).await;
    let mut read = [0; 10];
    for (near, on_ticks) in [(Duration::ZERO, false), (Duration::MAX, true), (Duration::ZERO, false)] {
        paced.near = near;
        // A read that is due plans the next one.
        for piece in [b"one", b"two", b"six"] {
            client.write_all(piece).await.expect("writes");
            tokio::time::advance(2 * TICK).await;
            assert_eq!(paced.read(&mut read).await.expect("reads"), 3);
        }
        assert_eq!(read_interval.is_on_ticks(), on_ticks);
    }
}
