//! Ten thousand hostile connections while a stream runs to five destinations.

use std::{net::SocketAddr, time::Duration};

use gostream_testkit::{
    PATIENCE,
    clip::Clip,
    platform::{Behaviour, Platform},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::show::{Show, every_picture_arrived};

const WAVES: usize = 20;
const ATTACKERS_A_WAVE: usize = 500;
/// Memory that may remain allocated afterwards, in kB: allocators do not return everything.
const KEPT_KB_MAX: i64 = 24 * 1024;
/// Additional open files allowed afterwards: a log, a query.
const KEPT_FILES_MAX: usize = 10;

/// C0 and C1, and a C2 that no server checks.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 1_536 + 1_536];
    bytes[0] = 3;
    bytes
}

/// A type 0 chunk header on chunk stream 3, with this message length and type.
fn header(length: u32, kind: u8) -> Vec<u8> {
    let [_, a, b, c] = length.to_be_bytes();
    vec![3, 0, 0, 0, a, b, c, kind, 0, 0, 0, 0]
}

/// What an attacker sends, in pieces.
fn attack(seed: usize) -> Vec<Vec<u8>> {
    let mut x = seed as u32 | 1;
    let mut garbage = || {
        (0..20_000)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x as u8
            })
            .collect::<Vec<u8>>()
    };
    match seed % 10 {
        // Nothing; half a handshake; a complete one and then silence.
        0 => vec![],
        1 => vec![handshake()[..900].to_vec()],
        2 => vec![handshake()],
        // Other protocols.
        3 => vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()],
        4 => vec![b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()],
        // A handshake byte by byte.
        5 => handshake()[..64].chunks(1).map(<[u8]>::to_vec).collect(),
        // Half a message; one that claims to be large; one in chunks of a byte.
        6 => vec![[handshake(), header(60_000, 20), vec![2; 100]].concat()],
        7 => vec![[handshake(), header(0xFF_FFFF, 20)].concat()],
        8 => vec![[handshake(), header(4, 1), vec![0, 0, 0, 1], header(5_000, 20), vec![0xC3; 9_000]].concat()],
        _ => vec![[handshake(), garbage()].concat()],
    }
}

/// One attacker. A third of them have addresses of their own, the others share some.
async fn attacker(server: SocketAddr, n: usize) {
    let place = if n.is_multiple_of(3) { n } else { n % 40 };
    let from = SocketAddr::from(([127, 1 + (place >> 12) as u8, (place >> 4) as u8, 1 + (place & 15) as u8], 0));
    let socket = TcpSocket::new_v4().expect("there are files left");
    socket.bind(from).expect("is this machine's");
    let Ok(mut stream) = socket.connect(server).await else { return };
    let mut sink = [0; 4_096];
    let attacking = async {
        for piece in attack(n) {
            if stream.write_all(&piece).await.is_err() {
                return;
            }
        }
        while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {}
    };
    // If not closed at once, it disconnects by itself.
    let _ = timeout(Duration::from_millis(300), attacking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_attackers_leak_nothing_and_the_stream_loses_nothing() {
    let clip = Clip::usual(40).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let mut platforms = Vec::new();
    for n in 0..5 {
        let platform = Platform::start(Behaviour::default()).await.expect("listens");
        show.destination(&platform.url(), &format!("key-{n}")).await;
        platforms.push(platform);
    }
    let ffmpeg = show.publish(&clip.path, &[]);
    for platform in &platforms {
        platform.until_video(150).await;
    }
    let (memory, files) = (show.resident_kb(), show.open_files());
    for wave in 0..WAVES {
        let mut attackers = JoinSet::new();
        for n in 0..ATTACKERS_A_WAVE {
            attackers.spawn(attacker(show.rtmp, wave * ATTACKERS_A_WAVE + n));
        }
        timeout(PATIENCE, attackers.join_all()).await.expect("all are done");
    }
    let all_live = show.status().await["destinations"]
        .as_array()
        .is_some_and(|destinations| destinations.iter().all(|destination| destination["relay"]["state"] == "live"));
    assert!(all_live, "the stream or a destination ended before the attackers");
    every_picture_arrived(ffmpeg, &platforms, &clip).await;
    let returned = async {
        while show.resident_kb() - memory > KEPT_KB_MAX || show.open_files() > files + KEPT_FILES_MAX {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let returned = timeout(PATIENCE, returned).await;
    let (kept_kb, kept_files) = (show.resident_kb() - memory, show.open_files() as i64 - files as i64);
    println!("kept after ten thousand attackers: {kept_kb} kB, {kept_files} files");
    assert!(returned.is_ok(), "{kept_kb} kB and {kept_files} files remain");
}
