//! Making a connection: names to addresses, the egress guard, Happy Eyeballs (RFC 8305), TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use gostream_net::{Egress, Forbidden, OwnAddresses, Resolve};
use gostream_proto::rtmp::url::RtmpUrl;
use gostream_tcp::{TcpInfo, tcp_info};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use uuid::Uuid;

use super::{
    certificate::CertificateProblem,
    error::Failure,
    steps::{Step, Steps},
};
use crate::{
    shares::{Bounds, Shares},
    spec::AccountId,
};

/// Time to resolve a name, including the wait for a permit.
const RESOLVE: Duration = Duration::from_secs(5);
/// Concurrent lookups. A lookup without an answer ends after [`RESOLVE`], so an account without lookups waits only
/// briefly even if others use all permits. Each lookup takes few sockets and some kilobytes. The queue has room for
/// every relay of an account that goes live with all its streams.
const LOOKUPS: Bounds = Bounds { running: 128, running_each: 16, waiting: 8_192, waiting_each: 4_096 };
/// Time to connect, for all addresses together.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for the TLS handshake.
const TLS: Duration = Duration::from_secs(10);
/// The head start of each address over the next (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The kernel breaks a connection with data unacknowledged for this long. Slightly more than the stall limit of a
/// relay, whose error says more.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Everything needed to connect to platforms.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// The account whose share of lookups is used.
    account: AccountId,
    lookups: Arc<Shares<AccountId>>,
    resolver: Arc<dyn Resolve>,
    egress: Arc<Egress>,
    own: OwnAddresses,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// A dialer that trusts only the given certificates; without them the system's, or the Mozilla roots where the
    /// system has none. Use [`Dialer::of`] to set the account.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        egress: Egress,
        own: OwnAddresses,
        trusted: Option<Vec<CertificateDer<'static>>>,
    ) -> Self {
        let roots = trusted.map_or_else(gostream_net::roots, |certificates| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates);
            roots
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("the provider has suites for TLS 1.2 and 1.3"))
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (account, lookups) = (AccountId(Uuid::nil()), Shares::new(LOOKUPS));
        Self { account, lookups, resolver, egress: Arc::new(egress), own, tls: Arc::new(tls) }
    }

    /// A dialer for an account.
    pub fn of(&self, account: AccountId) -> Self {
        Self { account, ..self.clone() }
    }

    /// Connects. Resolves the name each time.
    pub(crate) async fn connect(&self, url: &RtmpUrl, steps: &mut Steps) -> Result<Socket, Failure> {
        let addresses = self.resolve(url).await?;
        steps.advance_to(Step::Connect);
        let tcp = connect_any(addresses, url).await?;
        if !url.is_tls() {
            steps.advance_to(Step::Handshake);
            return Ok(Socket::Plain(tcp));
        }
        steps.advance_to(Step::Tls);
        let socket = self.wrap(tcp, url).await?;
        steps.advance_to(Step::Handshake);
        Ok(socket)
    }

    /// The permitted addresses of a URL, in the order to try them.
    async fn resolve(&self, url: &RtmpUrl) -> Result<Vec<SocketAddr>, Failure> {
        let host = url.host().to_owned();
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, url.port())],
            Err(_) => self.look_up(url).await?,
        };
        if found.is_empty() {
            return Err(Failure::Dns { host });
        }
        let own = self.own.list().await;
        let mut permitted = Vec::with_capacity(found.len());
        let mut forbidden = Forbidden::Private;
        for address in found {
            match self.egress.judge(address, &own) {
                Ok(()) => permitted.push(address),
                Err(why) => forbidden = why,
            }
        }
        match (permitted.is_empty(), forbidden) {
            (false, _) => Ok(interleave(permitted)),
            (true, Forbidden::Private) => Err(Failure::Forbidden { host }),
            (true, Forbidden::Port) => Err(Failure::ForbiddenPort { host, port: url.port() }),
        }
    }

    /// Looks the name up, with one of the account's permits.
    async fn look_up(&self, url: &RtmpUrl) -> Result<Vec<SocketAddr>, Failure> {
        let host = || url.host().to_owned();
        let deadline = Instant::now() + RESOLVE;
        let share = timeout_at(deadline, self.lookups.take(self.account)).await;
        let Ok(Ok(_share)) = share else { return Err(Failure::TooManyLookups { host: host() }) };
        match timeout_at(deadline, self.resolver.resolve(url.host(), url.port())).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                Err(Failure::Dns { host: host() })
            }
            _ => Err(Failure::NoNameServer { host: host() }),
        }
    }

    async fn wrap(&self, tcp: TcpStream, url: &RtmpUrl) -> Result<Socket, Failure> {
        let host = url.host().to_owned();
        let Ok(name) = ServerName::try_from(host.clone()) else { return Err(Failure::Dns { host }) };
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        // `connect` consumes the socket; its statistics are needed when the handshake fails.
        let same = tcp.as_fd().try_clone_to_owned();
        let failed = || {
            let info = same.as_ref().ok().and_then(|socket| tcp_info(socket).ok());
            Failure::Tls { host: host.clone() }.unless_large_packets_are_lost(info, &host)
        };
        match timeout(TLS, connector.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Socket::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(match certificate_problem(&error) {
                Some(problem) => Failure::Certificate { host, problem },
                None => failed(),
            }),
            Err(_) => Err(failed()),
        }
    }
}

fn certificate_problem(error: &io::Error) -> Option<CertificateProblem> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => Some(CertificateProblem::found_at(error, UnixTime::now())),
        _ => None,
    }
}

/// Alternates IPv6 and IPv4, starting with the family of the first address (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut turns: Vec<_> = first.into_iter().flat_map(|address| [Some(address), second.next()]).flatten().collect();
    turns.extend(second);
    turns
}

/// Connects to the first address that answers; each gets a head start over the next.
async fn connect_any(addresses: Vec<SocketAddr>, url: &RtmpUrl) -> Result<TcpStream, Failure> {
    let host = format!("{}:{}", url.host(), url.port());
    let mut attempts = JoinSet::new();
    let mut remaining = addresses.into_iter();
    let mut refused = false;
    let race = async {
        loop {
            let next = remaining.next();
            let exhausted = next.is_none();
            if let Some(address) = next {
                attempts.spawn(TcpStream::connect(address));
            }
            let pause = tokio::time::sleep(ATTEMPT_DELAY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    done = attempts.join_next() => match done {
                        Some(Ok(Ok(stream))) => return Some(stream),
                        Some(Ok(Err(error))) => {
                            refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                            if !exhausted {
                                break;
                            }
                        }
                        Some(Err(_)) => {}
                        None if exhausted => return None,
                        None => break,
                    },
                    () = &mut pause, if !exhausted => break,
                }
            }
        }
    };
    match timeout(CONNECT, race).await {
        Ok(Some(stream)) => {
            configure(&stream);
            Ok(stream)
        }
        Ok(None) if refused => Err(Failure::ConnectionRefused { host }),
        _ => Err(Failure::Unreachable { host }),
    }
}

/// Unsent bytes that the kernel may hold: a fraction of a second of a usual stream. Beyond it, writes wait. So progress
/// of a write means that bytes left for the network, and a destination that stops receiving is noticed soon instead of
/// after megabytes. Sent, unacknowledged bytes are limited in time by [`UNACKNOWLEDGED`].
const UNSENT_BYTES: u32 = 128 * 1024;

/// Messages are coalesced before they are written, so Nagle's algorithm would only add latency. The options improve the
/// connection but are not required, so errors are ignored.
fn configure(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    gostream_net::prefer_bbr(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(UNACKNOWLEDGED / 3));
}

/// A connection, plain or TLS.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// TCP statistics of the connection, where the kernel has them.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        tcp_info(self.socket()).ok()
    }

    /// The TCP socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Plain($stream) => $call,
            Socket::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests;
