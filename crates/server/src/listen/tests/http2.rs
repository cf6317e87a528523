//! HTTP/2, where one connection carries many requests. These tests do not use TLS, which makes no difference here.

use axum::http::{Request, StatusCode};
use hyper::client::conn::http2::{self, SendRequest};

use super::*;

type Client = SendRequest<axum::body::Body>;

async fn client_from(address: [u8; 4], server: SocketAddr) -> Client {
    let stream = TokioIo::new(connect_from(address, server).await);
    let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("speaks");
    tokio::spawn(connection);
    client
}

async fn get(client: &mut Client, path: &str) -> hyper::Response<Incoming> {
    let request = Request::get(format!("http://localhost{path}")).body(Body::empty()).expect("is one");
    client.send_request(request).await.expect("is answered")
}

/// Advances time in steps with pauses for pings: a paused clock waits for threads, but not for sockets.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(Duration::from_millis(500)).await;
        for _ in 0..4 {
            tokio::task::spawn_blocking(std::thread::yield_now).await.expect("does nothing");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_http2_window_stays_closed_is_ended() {
    let (server, _running) = serving(&["127.0.0.3/32"]);
    for path in ["/segment", "/pieces"] {
        let mut client = client_from([127, 0, 0, 2], server).await;
        let begun = Instant::now();
        let _withheld = get(&mut client, path).await;
        // The connection itself works and answers pings.
        while client.ready().await.is_ok() && begun.elapsed() < 2 * RESPONSE_TIMEOUT {
            sleep(Duration::from_millis(500)).await;
        }
        assert!(is_about(begun.elapsed(), RESPONSE_TIMEOUT), "{path}: {:?}", begun.elapsed());
    }

    let mut client = client_from([127, 0, 0, 2], server).await;
    let _events = get(&mut client, "/events").await;
    pass(3 * RESPONSE_TIMEOUT).await;
    assert_eq!(get(&mut client, "/").await.status(), StatusCode::OK, "events have no end");

    let mut proxy = client_from([127, 0, 0, 3], server).await;
    let _withheld = get(&mut proxy, "/segment").await;
    pass(2 * RESPONSE_TIMEOUT).await;
    assert_eq!(get(&mut proxy, "/").await.status(), StatusCode::OK, "others behind the proxy go on");
}

#[tokio::test]
async fn one_address_cannot_multiply_its_connections_by_streams() {
    let (server, _running) = serving(&[]);
    let mut clients = Vec::new();
    let mut open = Vec::new();
    while open.len() < REQUESTS.connections_per_address {
        let mut client = client_from([127, 0, 0, 2], server).await;
        for _ in 0..STREAMS_MAX.min(REQUESTS.connections_per_address as u32 - open.len() as u32) {
            let response = get(&mut client, "/events").await;
            assert_eq!(response.status(), StatusCode::OK, "after {}", open.len());
            open.push(response);
        }
        clients.push(client);
    }
    let mut next = client_from([127, 0, 0, 2], server).await;
    let refused = get(&mut next, "/").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let mut other = client_from([127, 0, 0, 4], server).await;
    assert_eq!(get(&mut other, "/").await.status(), StatusCode::OK, "others are answered");
    drop((clients, open));
    let come_back = async { while get(&mut next, "/").await.status() != StatusCode::OK {} };
    timeout(gostream_testkit::PATIENCE, come_back).await.expect("permits are returned");
}

/// Requests that announce a body but do not send it, as many as fit into one connection.
async fn bodiless(from: [u8; 4], server: SocketAddr, requests: usize) -> TcpStream {
    let mut stream = connect_from(from, server).await;
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(4, 0, 0, &[]));
    // `POST / http` from the static table of HPACK, and an authority in letters; the stream stays open.
    let head = b"\x83\x84\x86\x01\x09localhost";
    (0..requests as u32).for_each(|n| all.extend(frame(1, 4, 2 * n + 1, head)));
    stream.write_all(&all).await.expect("is sent");
    stream
}

#[tokio::test]
async fn a_new_client_is_answered_when_others_hold_all_requests() {
    let (server, _running) = serving(&[]);
    let each = REQUESTS.connections_per_address;
    let crowd = (0..REQUESTS.connections / each).map(|n| [127, 0, 1, n as u8 + 1]);
    let mut open = Vec::new();
    let mut probes = Vec::new();
    for from in crowd {
        for begun in (0..each).step_by(STREAMS_MAX as usize) {
            open.push(bodiless(from, server, (each - begun).min(STREAMS_MAX as usize)).await);
        }
        let mut probe = client_from(from, server).await;
        let full = async { while get(&mut probe, "/").await.status() == StatusCode::OK {} };
        timeout(gostream_testkit::PATIENCE, full).await.expect("its requests reach the limit");
        probes.push(probe);
    }
    let mut newcomer = client_from([127, 0, 0, 4], server).await;
    assert_eq!(get(&mut newcomer, "/").await.status(), StatusCode::OK, "another client's request is evicted");
    let ended = open.iter_mut().map(|stream| {
        Box::pin(async move {
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        })
    });
    timeout(gostream_testkit::PATIENCE, futures::future::select_all(ended))
        .await
        .expect("one of them is closed");
}

/// How long the connection stays open, up to twice the idle timeout.
async fn lifetime_of(client: &mut Client) -> Duration {
    let begun = Instant::now();
    while client.ready().await.is_ok() && begun.elapsed() < 2 * HEAD_TIMEOUT {
        pass(Duration::from_millis(500)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_answers_pings_is_closed() {
    let (server, _running) = serving(&[]);
    let mut client = client_from([127, 0, 0, 2], server).await;
    assert_eq!(get(&mut client, "/").await.status(), StatusCode::OK);
    let lived = lifetime_of(&mut client).await;
    assert!(is_about(lived, HEAD_TIMEOUT), "{lived:?}");

    let mut busy = client_from([127, 0, 0, 2], server).await;
    let events = get(&mut busy, "/events").await;
    pass(HEAD_TIMEOUT * 2).await;
    drop(events);
    assert_eq!(get(&mut busy, "/").await.status(), StatusCode::OK, "a request that is under way keeps it open");
    let lived = lifetime_of(&mut busy).await;
    assert!(is_about(lived, HEAD_TIMEOUT), "{lived:?}");
}

#[tokio::test]
async fn http2_heads_have_the_same_limit_and_unread_bodies_a_small_window() {
    let (server, _running) = serving(&[]);
    let ask = |bytes: usize| {
        let request = Request::get("http://localhost/").header("x-long", "a".repeat(bytes));
        request.body(Body::empty()).expect("is one")
    };
    for (bytes, status) in [
        (HEAD_BYTES_MAX - 1_024, StatusCode::OK),
        (HEAD_BYTES_MAX + 1_024, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let mut client = client_from([127, 0, 0, 2], server).await;
        let answered = client.send_request(ask(bytes)).await.map(|answer| answer.status());
        // The client library may refuse to send what exceeds the server's settings.
        assert_eq!(answered.unwrap_or(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), status, "{bytes} bytes");
    }
    let mut raw = TcpStream::connect(server).await.expect("connects");
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("is sent");
    let mut settings = [0; 64];
    raw.read_exact(&mut settings[..9]).await.expect("settings come first");
    let length = usize::from(settings[2]);
    raw.read_exact(&mut settings[..length]).await.expect("and whole");
    let value = |id: u16| {
        let pair = settings[..length].chunks(6).find(|pair| pair.starts_with(&id.to_be_bytes()));
        pair.map(|pair| u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    };
    // RFC 9113 section 6.5.2: without the setting, a window has 65,535 bytes.
    assert!(value(4).unwrap_or(65_535) <= WINDOW_BYTES);
    assert_eq!(value(6), Some(HEAD_BYTES_MAX as u32));
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// CVE-2023-44487: each request is reset at once, so that the limit on open streams is never reached.
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let (server, _running) = serving(&[]);
    let mut attacker = TcpStream::connect(server).await.expect("connects");
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    // `GET / http` from the static table of HPACK, and an authority in letters.
    let head = b"\x82\x84\x86\x01\x09localhost";
    for stream in (0..10_000).map(|n| 2 * n + 1) {
        flood.extend(frame(1, 5, stream, head));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let (mut reader, mut writer) = attacker.split();
    let mut answer = Vec::new();
    let (read, _) =
        tokio::join!(timeout(gostream_testkit::PATIENCE, reader.read_to_end(&mut answer)), writer.write_all(&flood),);
    let end = read.expect("is closed");
    // GOAWAY with ENHANCE_YOUR_CALM, unless a reset overtook it.
    let told = answer.windows(4).any(|code| code == 11_u32.to_be_bytes()) || end.is_err();
    let answered = answer.windows(4).filter(|text| text == b"here").count();
    assert!(told, "{} bytes", answer.len());
    assert!(answered < 100, "{answered} were answered");
    assert!(is_answered(&mut TcpStream::connect(server).await.expect("connects")).await);
}
