//! Hostile and broken peers: refused, while another stream continues undisturbed.

use std::{net::SocketAddr, time::Duration};

use gostream_engine::{EngineConfig, limits::Limits};
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::stage::{Stage, assert_same, bodies, config};

/// C0, C1 and C2 at once.
fn handshake() -> Vec<u8> {
    let mut hello = vec![0; 1 + 2 * 1_536];
    hello[0] = 3;
    hello
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &size.to_be_bytes()].concat()
}

/// What each attacker sends.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let after_handshake = |bytes: &[u8]| [handshake().as_slice(), bytes].concat();
    let mut random = vec![0_u8; 50_000];
    let mut x = 0x9E37_79B9_u32;
    random.iter_mut().for_each(|byte| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        *byte = x as u8;
    });
    let nested = {
        let mut body = vec![2, 0, 7];
        body.extend(b"connect");
        body.extend([0, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0]);
        body.extend([3, 0, 1, b'a'].repeat(8_000));
        let length = (body.len() as u32).to_be_bytes();
        let mut message = set_chunk_size(0x7FFF_FFFF);
        message.extend([3, 0, 0, 0, length[1], length[2], length[3], 20, 0, 0, 0, 0]);
        message.extend(body);
        message
    };
    let create_streams = {
        let mut connect = vec![2, 0, 7];
        connect.extend(b"connect");
        connect.extend([0, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0, 3, 0, 3]);
        connect.extend(b"app");
        connect.extend([2, 0, 4]);
        connect.extend(b"live");
        connect.extend([0, 0, 9]);
        let mut create = vec![2, 0, 12];
        create.extend(b"createStream");
        create.extend([0, 0x40, 0, 0, 0, 0, 0, 0, 0, 5]);
        let command = |body: Vec<u8>| [vec![3, 0, 0, 0, 0, 0, body.len() as u8, 20, 0, 0, 0, 0], body].concat();
        [command(connect), command(create).repeat(20_000)].concat()
    };
    vec![
        ("thousands of createStream", after_handshake(&create_streams)),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a TLS hello", vec![0x16, 3, 1, 2, 0, 1, 0, 1]),
        ("nothing", vec![]),
        ("half a handshake", handshake()[..1_000].to_vec()),
        ("random bytes after a handshake", after_handshake(&random)),
        ("a message of 16 MiB", after_handshake(&[3, 0, 0, 0, 0xFF, 0xFF, 0xFF, 20, 0, 0, 0, 0])),
        ("a chunk size of 0", after_handshake(&set_chunk_size(0))),
        ("a chunk size with the top bit", after_handshake(&set_chunk_size(0x8000_0000))),
        ("nested AMF", after_handshake(&nested)),
        (
            "a publish before connect",
            after_handshake(&[
                3, 0, 0, 0, 0, 0, 19, 20, 1, 0, 0, 0, 2, 0, 7, b'p', b'u', b'b', b'l', b'i', b's', b'h', 0, 0, 0, 0, 0,
                0, 0, 0, 0,
            ]),
        ),
        ("a handshake and silence", handshake()),
    ]
}

async fn attack(address: SocketAddr, what: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("is taken");
    let _ = stream.write_all(bytes).await;
    let mut sink = [0; 4_096];
    let closed = async { while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {} };
    assert!(timeout(PATIENCE, closed).await.is_ok(), "{what} is not closed");
}

fn impatient() -> EngineConfig {
    let limits =
        Limits { handshake: Duration::from_millis(300), request: Duration::from_millis(600), ..Limits::default() };
    EngineConfig { limits, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn attackers_are_disconnected_and_another_stream_loses_nothing() {
    let stage = Stage::with(impatient()).await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 6_000, ..Script::default() }.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    let address = stage.address;
    let attackers: Vec<_> = attacks()
        .into_iter()
        .map(|(what, bytes)| tokio::spawn(async move { attack(address, what, &bytes).await }))
        .collect();
    encoder.send_paced(&all[10..], 4.0).await.expect("is taken");
    for attacker in attackers {
        attacker.await.expect("is closed");
    }
    encoder.stop().await.expect("says goodbye");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_same(&visits[0].media, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_from_one_address_is_bounded_and_temporary() {
    let handshake = Duration::from_millis(500);
    let mut limits = Limits { handshake, ..Limits::default() };
    limits.connections.waiting_per_address = 20;
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    stage.project("key", &[]);
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(stage.address).await.expect("the kernel takes it"));
    }
    // Connections over the limit are closed at once, the others at the handshake deadline.
    for mut stream in flood {
        let mut sink = [0; 16];
        let read = timeout(PATIENCE, stream.read(&mut sink)).await.expect("is closed");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    Encoder::publish(stage.address, "key").await.expect("connections are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn encoder_is_served_when_others_use_all_connections() {
    let mut limits = Limits { handshake: 2 * PATIENCE, request: 2 * PATIENCE, ..Limits::default() };
    (limits.connections.waiting, limits.connections.waiting_per_address) = (16, 8);
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    stage.project("key", &[]);
    let mut live = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let mut crowd = Vec::new();
    for n in 0..16 {
        let socket = TcpSocket::new_v4().expect("is made");
        socket.bind(SocketAddr::from(([127, 0, 9, 1 + n / 8], 0))).expect("binds");
        let mut stream = socket.connect(stage.address).await.expect("connects");
        stream.write_all(&[3]).await.expect("is sent");
        crowd.push(stream);
    }
    stage.project("other", &[]);
    let other = timeout(PATIENCE, Encoder::publish(stage.address, "other")).await.expect("gets a connection");
    other.expect("is admitted");
    // It does not matter which of the two addresses loses a connection.
    let (first, second) = crowd.split_at_mut(8);
    let (mut sink, mut sink_too) = ([0; 16], [0; 16]);
    let closed = async {
        tokio::select! {
            read = first[0].read(&mut sink) => read,
            read = second[0].read(&mut sink_too) => read,
        }
    };
    let read = timeout(PATIENCE, closed).await.expect("the oldest connection of one address is closed");
    assert!(matches!(read, Ok(0) | Err(_)));
    live.send_all(&Script { ms: 200, ..Script::default() }.write())
        .await
        .expect("a publishing connection stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_publisher_is_disconnected() {
    let limits = Limits { silence: Duration::from_millis(300), ..Limits::default() };
    let stage = Stage::with(EngineConfig { limits, reconnect_grace: Duration::from_millis(200), ..config() }).await;
    let spec = stage.project("key", &[]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&Script { ms: 200, ..Script::default() }.write()).await.expect("is taken");
    encoder.closed().await.expect("is closed");
    stage.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn player_that_does_not_read_is_disconnected_and_delays_nobody() {
    let limits = Limits { write: Duration::from_millis(500), silence: 2 * PATIENCE, ..Limits::default() };
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    let platform = Platform::start(Behaviour::default()).await.expect("starts");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    // More than the kernel buffers for a connection.
    let all = Script { ms: 8_000, frame_bytes: 100_000, ..Script::default() }.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    let mut dull = Encoder::play(stage.address, "key").await.expect("plays");
    let mut attentive = Encoder::play(stage.address, "key").await.expect("plays");
    let watching = tokio::spawn(async move {
        let mut media = Vec::new();
        while let Ok(more) = attentive.media().await {
            media.push(more);
        }
        media
    });
    encoder.send_paced(&all[10..], 4.0).await.expect("is taken");
    dull.closed().await.expect("is disconnected while the stream continues");
    encoder.stop().await.expect("says goodbye");
    let [_, watched] = bodies(&watching.await.expect("ends with the stream"));
    let [_, sent] = bodies(&all);
    assert!(sent.ends_with(&watched[1..]) && watched.len() > 190, "{} frames of {}", watched.len(), sent.len());
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_same(&visits[0].media, &all);
}
