//! The PROXY protocol, versions 1 and 2: a TCP proxy says first whose connection it passes on, in a header before all else
//! ("The PROXY protocol", HAProxy's doc/proxy-protocol.txt).
//!
//! Only those proxies are believed that the operator names, and they have to send it; what other clients send is not looked
//! at here, and no HTTP, TLS or RTMP begins like it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

/// The header is the first thing that a proxy sends. Section 2 wants three seconds at least, so that a lost packet comes again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The header of a connection that is passed on for no client.
pub const NO_CLIENT: &[u8] = b"PROXY UNKNOWN\r\n";
/// What version 2 begins with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1); its shortest line, `PROXY UNKNOWN`, is longer than the signature of version 2.
const KEYWORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// The addresses of version 2 and what may follow them (section 2.2: a receiver should take 536 bytes in all; 16 are the head).
const REST_BYTES_MAX: usize = 536 - 16;

/// The proxies that begin each connection with a header.
#[derive(Clone, Debug, Default)]
pub struct ProxyProtocol(Arc<[IpNet]>);

/// Why a header is not taken. The connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The proxy closed before it was complete, or the network did.
    #[error("the connection closed")]
    Closed(#[from] io::Error),
    /// It did not come in time.
    #[error("nothing came in time")]
    Late,
    /// Something else came.
    #[error("it began with something else")]
    Missing,
    /// It began as one.
    #[error("it was malformed")]
    Malformed,
    /// It is longer than any header needs to be.
    #[error("it was too long")]
    TooLong,
}

/// Those of these networks.
impl From<Vec<IpNet>> for ProxyProtocol {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }
}

impl ProxyProtocol {
    /// Whether a connection from there begins with a header.
    pub fn expects(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Reads the header of a connection from `peer`, and nothing beyond it: whose connection it is. That of the proxy itself, when
    /// the header says so (a health check) or does not know.
    pub async fn client(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> Result<SocketAddr, HeaderError> {
        let read = timeout(HEADER_TIMEOUT, read(stream)).await.map_err(|_| HeaderError::Late)?;
        if let Err(HeaderError::Missing | HeaderError::Malformed | HeaderError::TooLong | HeaderError::Late) = &read {
            // The operator named this proxy, so one of the two has to be set up otherwise.
            tracing::warn!(
                %peer,
                "A connection from a proxy that `proxy_protocol.from` names has no valid PROXY header and was closed. Let the \
                 proxy send one (HAProxy: `send-proxy-v2`), or remove it from the setting."
            );
        }
        Ok(read?.unwrap_or(peer))
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut head = [0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    if head == SIGNATURE {
        return read_binary(stream).await;
    }
    if !head.starts_with(KEYWORD) {
        return Err(HeaderError::Missing);
    }
    let mut line = head.to_vec();
    // A byte at a time: what comes after the line is not ours to read.
    while !line.ends_with(b"\n") {
        if line.len() == LINE_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line)
}

/// Section 2.1: `PROXY TCP4 203.0.113.7 192.0.2.1 51234 1935\r\n`, one blank between two words.
fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = text.ok_or(HeaderError::Malformed)?.split(' ').collect();
    match words[..] {
        ["PROXY", "TCP4", from, to, from_port, to_port] => endpoint::<Ipv4Addr>(from, to, from_port, to_port),
        ["PROXY", "TCP6", from, to, from_port, to_port] => endpoint::<Ipv6Addr>(from, to, from_port, to_port),
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        _ => None,
    }
    .map(Some)
    .ok_or(HeaderError::Malformed)
}

/// The first of the two; the other one has to be one, too.
fn endpoint<A: FromStr + Into<IpAddr>>(from: &str, to: &str, from_port: &str, to_port: &str) -> Option<SocketAddr> {
    let (from, _to): (A, A) = (from.parse().ok()?, to.parse().ok()?);
    let (from_port, _to_port) = (port(from_port)?, port(to_port)?);
    Some(SocketAddr::new(from.into(), from_port))
}

/// A port without a sign, and without zeros in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// Section 2.2, after the signature:
///
/// ```text
/// +---------------------+--------------------+----------+-----------------------------+----------------+
/// | version 2 | command | family | transport | length   | from, to, from port, to port| other things   |
/// | 4 bits    | 4 bits  | 4 bits | 4 bits    | 2 bytes  | 12 or 36 bytes              | up to `length` |
/// +---------------------+--------------------+----------+-----------------------------+----------------+
/// ```
async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let (command, family, length) = (stream.read_u8().await?, stream.read_u8().await?, stream.read_u16().await?);
    let length = usize::from(length);
    if !matches!(command, 0x20 | 0x21) {
        return Err(HeaderError::Malformed);
    }
    if length > REST_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let mut rest = [0; REST_BYTES_MAX];
    let rest = rest.get_mut(..length).ok_or(HeaderError::TooLong)?;
    stream.read_exact(rest).await?;
    // LOCAL: the proxy's own connection, whatever follows.
    if command == 0x20 {
        return Ok(None);
    }
    match (family, &*rest) {
        // AF_UNSPEC, and AF_UNIX of a proxy on this machine: no address to take.
        (0x00, _) => Ok(None),
        (0x31, rest) if rest.len() >= 216 => Ok(None),
        (0x11, &[a, b, c, d, _, _, _, _, high, low, _, _, ..]) => {
            Ok(Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))))
        }
        (0x21, rest) => match (rest.first_chunk::<16>(), rest.get(32..36)) {
            (Some(&from), Some(&[high, low, _, _])) => {
                Ok(Some(SocketAddr::from((Ipv6Addr::from(from), u16::from_be_bytes([high, low])))))
            }
            _ => Err(HeaderError::Malformed),
        },
        _ => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests;
