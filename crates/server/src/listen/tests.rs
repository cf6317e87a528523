//! Slow clients, and clients that exceed connection limits. Sockets are real, time is simulated.

use std::net::{IpAddr, Ipv4Addr};

use axum::routing::get;
use gostream_net::listen;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpSocket,
    time::{Instant, sleep},
};

use super::{response_body::RESPONSE_TIMEOUT, *};

mod http2;

/// More than the kernel buffers for a connection.
const SEGMENT_BYTES: usize = 32 << 20;
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Starts a server that answers every request until the guard is dropped.
fn serving(proxies: &[&str]) -> (SocketAddr, tokio_util::sync::DropGuard) {
    serving_with(LIMITS, proxies)
}

fn serving_with(limits: ConnectionLimits, proxies: &[&str]) -> (SocketAddr, tokio_util::sync::DropGuard) {
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let address = listener.local_addr().expect("is bound");
    let router = Router::new()
        .route("/", get(async || "here").post(async |_: axum::body::Bytes| "read"))
        .route("/segment", get(async || vec![0; SEGMENT_BYTES]))
        .route("/pieces", get(pieces))
        .route("/events", get(events));
    let proxies = proxies.iter().map(|range| range.parse().expect("is a range")).collect();
    let (headers, stop) = (ProxyProtocol::default(), CancellationToken::new());
    tokio::spawn(serve(listener, Port { tls: None, headers, proxies, limits, router }, stop.clone()));
    (address, stop.drop_guard())
}

/// A segment in pieces, as low-latency parts arrive.
async fn pieces() -> Body {
    let piece = axum::body::Bytes::from(vec![0; 64 << 10]);
    let pieces = std::iter::repeat_n(Ok::<_, std::convert::Infallible>(piece), SEGMENT_BYTES >> 16);
    Body::from_stream(futures::stream::iter(pieces))
}

/// An event stream without events.
async fn events() -> impl axum::response::IntoResponse {
    let never = futures::stream::pending::<Result<axum::body::Bytes, io::Error>>();
    ([("content-type", "text/event-stream")], Body::from_stream(never))
}

async fn connect_from(client: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("is made");
    socket.bind((IpAddr::from(client), 0).into()).expect("binds");
    socket.connect(server).await.expect("connects")
}

/// Whether a request on this connection gets status 200; `false` if the connection was closed.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let _ = stream.write_all(HEAD).await;
    let mut answer = [0; 1_024];
    let got = stream.read(&mut answer).await.unwrap_or_default();
    answer[..got].starts_with(b"HTTP/1.1 200")
}

/// How long the server keeps a connection that sends these pieces, one a second.
async fn patience_for(stream: &mut TcpStream, pieces: &[u8]) -> Duration {
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut answer) => {}
        () = async {
            for piece in pieces {
                let _ = writer.write_all(&[*piece]).await;
                sleep(Duration::from_secs(1)).await;
            }
            std::future::pending().await
        } => {}
    }
    begun.elapsed()
}

fn is_about(is: Duration, should: Duration) -> bool {
    is.abs_diff(should) < Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_times_out() {
    let (server, _running) = serving(&[]);
    for pieces in [&HEAD[..HEAD.len() - 1], b"", b"P"] {
        let mut stream = TcpStream::connect(server).await.expect("connects");
        let patience = patience_for(&mut stream, pieces).await;
        assert!(is_about(patience, FIRST_REQUEST_TIMEOUT), "{patience:?}");
    }
    for pieces in [&HEAD[..10], b""] {
        let mut stream = TcpStream::connect(server).await.expect("connects");
        sleep(FIRST_REQUEST_TIMEOUT * 2 / 3).await;
        assert!(is_answered(&mut stream).await);
        let patience = patience_for(&mut stream, pieces).await;
        assert!(is_about(patience, HEAD_TIMEOUT), "between requests there is more time: {patience:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_use_the_connections_of_others() {
    let (server, _running) = serving(&["127.0.0.3/32"]);
    let mut crowd = Vec::new();
    for _ in 0..LIMITS.waiting_per_address {
        crowd.push(connect_from([127, 0, 0, 2], server).await);
    }
    assert!(!is_answered(&mut connect_from([127, 0, 0, 2], server).await).await, "one too many");
    assert!(is_answered(&mut connect_from([127, 0, 0, 4], server).await).await, "others are served");
    assert!(is_answered(&mut crowd[0]).await, "and so are the first ones");
    assert!(is_answered(&mut connect_from([127, 0, 0, 2], server).await).await, "after a request, another may wait");
    drop(crowd);
    assert!(is_answered(&mut connect_from([127, 0, 0, 2], server).await).await, "permits are returned");

    let mut behind_proxy = Vec::new();
    for _ in 0..=LIMITS.waiting_per_address {
        behind_proxy.push(connect_from([127, 0, 0, 3], server).await);
    }
    let mut last = behind_proxy.pop().expect("is there");
    assert!(is_answered(&mut last).await, "a proxy serves many clients");
}

/// Limits that two addresses can exhaust.
const FEW: ConnectionLimits =
    ConnectionLimits { waiting: 8, waiting_per_address: 4, connections: 16, connections_per_address: 8, proxies: 2 };

#[tokio::test]
async fn a_new_client_is_served_when_others_hold_all_connections() {
    let (server, _running) = serving_with(FEW, &["127.0.0.3/32"]);
    let mut silent = Vec::new();
    for client in [[127, 0, 0, 5], [127, 0, 0, 6]] {
        for _ in 0..FEW.waiting_per_address {
            silent.push(connect_from(client, server).await);
        }
    }
    assert!(is_answered(&mut connect_from([127, 0, 0, 4], server).await).await, "silent connections are evicted");
    drop(silent);

    let mut asked = Vec::new();
    for client in [[127, 0, 0, 7], [127, 0, 0, 8]] {
        for _ in 0..FEW.connections_per_address {
            let mut stream = connect_from(client, server).await;
            assert!(is_answered(&mut stream).await);
            asked.push(stream);
        }
    }
    // An unfinished head is not a request.
    asked[0].write_all(&HEAD[..10]).await.expect("is sent");
    assert!(!is_answered(&mut connect_from([127, 0, 0, 8], server).await).await, "one address has a bound");
    assert!(is_answered(&mut connect_from([127, 0, 0, 4], server).await).await, "idle connections are evicted");
    assert!(!is_answered(&mut asked[0]).await || !is_answered(&mut asked[8]).await, "the oldest of one was closed");
    assert!(is_answered(&mut asked[7]).await && is_answered(&mut asked[15]).await, "the others stay");
    assert!(is_answered(&mut connect_from([127, 0, 0, 3], server).await).await, "a proxy has limits of its own");
}

#[tokio::test]
async fn a_connection_with_an_open_request_is_not_evicted() {
    let (server, _running) = serving_with(FEW, &[]);
    let mut busy = Vec::new();
    for client in [[127, 0, 0, 5], [127, 0, 0, 6]] {
        for _ in 0..FEW.connections_per_address {
            let mut stream = connect_from(client, server).await;
            stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("is sent");
            let mut head = [0; 1_024];
            assert!(stream.read(&mut head).await.is_ok_and(|got| head[..got].starts_with(b"HTTP/1.1 200")));
            busy.push(stream);
        }
    }
    assert!(!is_answered(&mut connect_from([127, 0, 0, 4], server).await).await, "no connection is idle");
    for stream in &mut busy {
        let open = timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await;
        assert!(open.is_err(), "events go on");
    }
    drop(busy.pop());
    let served = async { while !is_answered(&mut connect_from([127, 0, 0, 4], server).await).await {} };
    timeout(gostream_testkit::PATIENCE, served).await.expect("a closed connection makes room");
}

#[tokio::test]
async fn a_head_has_at_most_32_kib() {
    let (server, _running) = serving(&[]);
    for (bytes, status) in [(HEAD_BYTES_MAX - 1_024, "HTTP/1.1 200"), (HEAD_BYTES_MAX + 1_024, "HTTP/1.1 431")] {
        let mut stream = TcpStream::connect(server).await.expect("connects");
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(bytes));
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("is answered");
        assert_eq!(String::from_utf8_lossy(&answer), status, "{bytes} bytes");
    }
}

/// Reads a little of a response every second for longer than the deadline, then the rest at once. Returns the length of
/// the rest.
async fn rest_after_dribble(stream: &mut TcpStream) -> usize {
    let begun = Instant::now();
    let mut some = vec![0; 32 << 10];
    while begun.elapsed() < RESPONSE_TIMEOUT + Duration::from_secs(5) {
        assert!(stream.read(&mut some).await.is_ok_and(|got| got > 0), "the kernel has more");
        sleep(Duration::from_secs(1)).await;
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest.len()
}

#[tokio::test(start_paused = true)]
async fn a_slowly_read_response_is_closed() {
    let (server, _running) = serving(&[]);
    for path in ["/segment", "/pieces"] {
        let mut slow = TcpStream::connect(server).await.expect("connects");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        slow.write_all(head.as_bytes()).await.expect("is sent");
        // The part in the kernel's buffers still arrives.
        let rest = rest_after_dribble(&mut slow).await;
        assert!(rest < SEGMENT_BYTES / 2, "{path}: {rest} bytes came afterwards");
    }
}
