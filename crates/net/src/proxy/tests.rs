//! Headers as proxies send them, and in every way that they must not.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

const PROXY: &str = "192.0.2.1:40000";

fn peer() -> SocketAddr {
    PROXY.parse().expect("is one")
}

/// What a connection that begins with these bytes is taken for, and what is left of it.
async fn taken(bytes: &[u8]) -> (Result<SocketAddr, HeaderError>, Vec<u8>) {
    let mut stream = bytes;
    let client = ProxyProtocol::default().client(&mut stream, peer()).await;
    (client, stream.to_vec())
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("fits").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn v4() -> Vec<u8> {
    [&[203, 0, 113, 7, 192, 0, 2, 9][..], &51_234_u16.to_be_bytes(), &1_935_u16.to_be_bytes()].concat()
}

fn v6() -> Vec<u8> {
    let from: Ipv6Addr = "2001:db8::7".parse().expect("is one");
    [&from.octets()[..], &[0; 16], &51_234_u16.to_be_bytes(), &1_935_u16.to_be_bytes()].concat()
}

#[tokio::test]
async fn headers_name_the_client_and_nothing_beyond_them_is_read() {
    let long_v6 =
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
    assert_eq!(unknown.len(), LINE_BYTES_MAX);
    let mut with_more = v4();
    with_more.extend([0x04; 500]);
    for (header, expected) in [
        (b"PROXY TCP4 203.0.113.7 192.0.2.9 51234 1935\r\n".to_vec(), "203.0.113.7:51234"),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n".to_vec(), "1.1.1.1:0"),
        (b"PROXY TCP6 2001:db8::7 ::1 51234 1935\r\n".to_vec(), "[2001:db8::7]:51234"),
        (long_v6.as_bytes().to_vec(), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        (b"PROXY UNKNOWN\r\n".to_vec(), PROXY),
        (unknown.into_bytes(), PROXY),
        (binary(0x21, 0x11, &v4()), "203.0.113.7:51234"),
        (binary(0x21, 0x11, &with_more), "203.0.113.7:51234"),
        (binary(0x21, 0x21, &v6()), "[2001:db8::7]:51234"),
        (binary(0x21, 0x00, &[]), PROXY),
        (binary(0x21, 0x31, &[0; 216]), PROXY),
        (binary(0x20, 0x00, &[]), PROXY),
        // What LOCAL says of addresses does not count (section 2.2).
        (binary(0x20, 0x11, &v4()), PROXY),
        (binary(0x20, 0x77, &[9; REST_BYTES_MAX]), PROXY),
    ] {
        let bytes = [&header, &b"\x03media"[..]].concat();
        let (client, left) = taken(&bytes).await;
        assert_eq!(client.ok().map(|client| client.to_string()).as_deref(), Some(expected), "{header:?}");
        assert_eq!(left, b"\x03media", "{header:?}");
    }
}

#[tokio::test]
async fn malformed_headers_are_refused() {
    for line in [
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 1935\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 1935 \r\n",
        "PROXY TCP4  203.0.113.7 192.0.2.9 51234 1935\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 1935 1\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 65536 1935\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 -1 1935\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 +1 1935\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 01 1935\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 \r\n",
        "PROXY TCP4 203.0.113.007 192.0.2.9 51234 1935\r\n",
        "PROXY TCP4 203.0.113 192.0.2.9 51234 1935\r\n",
        "PROXY TCP4 2001:db8::7 ::1 51234 1935\r\n",
        "PROXY TCP6 203.0.113.7 192.0.2.9 51234 1935\r\n",
        "PROXY TCP4 localhost 192.0.2.9 51234 1935\r\n",
        "PROXY UDP4 203.0.113.7 192.0.2.9 51234 1935\r\n",
        "PROXY tcp4 203.0.113.7 192.0.2.9 51234 1935\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \u{e9}\u{e9}\u{e9}\u{e9}\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234\r 1935\r\n",
    ] {
        let (client, _) = taken(line.as_bytes()).await;
        assert!(matches!(client, Err(HeaderError::Malformed)), "{line:?}: {client:?}");
    }
    for header in [
        binary(0x11, 0x11, &v4()),
        binary(0x22, 0x11, &v4()),
        binary(0x2F, 0x11, &v4()),
        binary(0x21, 0x11, &v4()[..11]),
        binary(0x21, 0x11, &[]),
        binary(0x21, 0x21, &v6()[..35]),
        binary(0x21, 0x12, &v4()),
        binary(0x21, 0x31, &[0; 215]),
        binary(0x21, 0x41, &v4()),
        binary(0x21, 0x10, &v4()),
        binary(0x21, 0x01, &v4()),
    ] {
        let (client, _) = taken(&header).await;
        assert!(matches!(client, Err(HeaderError::Malformed)), "{header:?}: {client:?}");
    }
}

#[tokio::test]
async fn what_is_no_header_ends_at_its_first_bytes() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaa",
        b"\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"proxy TCP4 203.0.113.7 192.0.2.9 51234 1935\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n\r\n",
    ] {
        let (client, left) = taken(bytes).await;
        assert!(matches!(client, Err(HeaderError::Missing)), "{bytes:?}");
        assert_eq!(left.len(), bytes.len() - SIGNATURE.len());
    }
}

#[tokio::test]
async fn headers_have_a_length_and_an_end() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 15));
    let (client, left) = taken(long.as_bytes()).await;
    assert!(matches!(client, Err(HeaderError::TooLong)));
    assert_eq!(left.len(), long.len() - LINE_BYTES_MAX);
    let (client, _) = taken(&binary(0x21, 0x11, &[0; REST_BYTES_MAX + 1])).await;
    assert!(matches!(client, Err(HeaderError::TooLong)));
    let whole = binary(0x21, 0x11, &v4());
    for length in 0..whole.len() {
        let (client, _) = taken(&whole[..length]).await;
        assert!(matches!(client, Err(HeaderError::Closed(_))), "{length}: {client:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_comes_in_time_or_the_connection_ends() {
    let (mut proxy, mut stream) = tokio::io::duplex(64);
    proxy.write_all(b"PROXY TCP4 203.0").await.expect("is written");
    let begun = tokio::time::Instant::now();
    let client = ProxyProtocol::default().client(&mut stream, peer()).await;
    assert!(matches!(client, Err(HeaderError::Late)));
    assert_eq!(begun.elapsed(), HEADER_TIMEOUT);
}

#[test]
fn only_named_proxies_have_to_send_one() {
    let proxies = ProxyProtocol::from(vec!["192.0.2.0/24".parse().expect("is one")]);
    for (address, expected) in [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("192.0.3.1", false), ("::1", false)] {
        assert_eq!(proxies.expects(address.parse().expect("is one")), expected, "{address}");
    }
    assert!(!ProxyProtocol::default().expects(peer().ip()));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(
        begin in prop_oneof![Just(SIGNATURE.to_vec()), Just(KEYWORD.to_vec()), Just(Vec::new())],
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
        let bytes = [begin, bytes].concat();
        let (client, left) = runtime.block_on(taken(&bytes));
        prop_assert!(bytes.len() - left.len() <= SIGNATURE.len() + 4 + REST_BYTES_MAX);
        prop_assert!(client.is_err() || left.len() < bytes.len());
    }
}
