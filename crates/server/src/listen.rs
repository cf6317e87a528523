//! TCP and TLS below HTTP: sockets bound for IPv4 and IPv6, and connections served with deadlines until the stop.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, Version, header},
    response::{IntoResponse as _, Response},
};
use gostream_engine::door::{Door, Place, Places, site};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use ipnet::IpNet;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, UnderWay};
use crate::tls::ACME_TLS_1;

mod answer;

/// The kernel's own default backlog.
const BACKLOG: i32 = 4_096;
/// Each connection costs a task and some kilobytes. Half of them are left for others when a school that watches behind one
/// address fills its share; those that have not asked for anything yet are few, and not for long.
const PLACES: Places =
    Places { waiting: 1_024, waiting_per_address: 256, connections: 4_096, connections_per_address: 2_048 };
/// Requests of one connection of HTTP/2 at once; RFC 9113 section 6.5.2 recommends no fewer.
const STREAMS_MAX: u32 = 100;
/// Requests at once, from the head to the end of the answer; a held one is looked at with every part of its stream.
/// One for each connection that there may be fits twice, so this only bounds what HTTP/2 makes of them.
const REQUESTS: Places = Places {
    waiting: usize::MAX,
    waiting_per_address: usize::MAX,
    connections: 16_384,
    connections_per_address: 4_096,
};
/// A TLS handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection (or its TLS handshake) to its first request. Browsers open some ahead of need, and open others when
/// these are closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one connection, and for the head of a request. Players poll every two seconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// After the stop: how long open requests may take to finish.
const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept (no file descriptors left), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of the client's end, put into every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Of the connection.
    pub(crate) address: SocketAddr,
    /// It is a proxy that is believed about whom it speaks for.
    pub(crate) is_proxy: bool,
}

/// The place of a request, put into it: a handler that runs on without its client holds it until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    _place: Arc<Place>,
}

impl Peer {
    /// Whose places it takes; nobody's if it speaks for many.
    fn site(&self) -> Option<IpAddr> {
        (!self.is_proxy).then(|| site(self.address.ip()))
    }
}

/// Binds `address`; `[::]` takes IPv4 as well, and falls back to it where the machine has no IPv6.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_exactly(address) {
        Err(error) if is_unsupported(&error) && address.ip().is_unspecified() => {
            bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(97) // EAFNOSUPPORT on Linux, for which the library has no kind.
}

fn bind_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted server takes its port back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` until `stop`, then lets open requests finish for a moment.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    proxies: Arc<[IpNet]>,
    router: Router,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let (door, requests) = (Door::new(PLACES), Door::new(REQUESTS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let address = peer.ip().to_canonical();
                let is_proxy = proxies.iter().any(|range| range.contains(&address));
                let peer = Peer { address: peer, is_proxy };
                let Some(place) = door.enter(peer.site()) else {
                    tracing::debug!(peer = %peer.address, "One HTTP connection too many; closed.");
                    continue;
                };
                let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
                let requests = Arc::clone(&requests);
                let connection = Connection { peer, place, requests, tls, router, stop };
                tokio::spawn(connection.run(stream, graceful.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!("Some HTTP connections were still busy at the stop.");
    }
}

struct Connection {
    peer: Peer,
    place: Place,
    requests: Arc<Door>,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher) {
        if let Err(error) = tune(&stream) {
            tracing::trace!(%error, "A socket option was refused.");
        }
        match self.tls.clone() {
            None => self.serve(stream, watcher).await,
            Some(acceptor) => {
                let accepted = tokio::select! {
                    () = self.stop.cancelled() => return,
                    accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
                };
                match accepted {
                    // The handshake was the answer; RFC 8737 section 3 wants nothing after it.
                    Ok(Ok(mut stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS_1) => {
                        if let Ok(Err(error)) = timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await {
                            tracing::debug!(%error, peer = %self.peer.address, "A challenge ended early.");
                        }
                    }
                    Ok(Ok(stream)) => self.serve(stream, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, peer = %self.peer.address, "A TLS handshake failed."),
                    Err(_) => tracing::debug!(peer = %self.peer.address, "A TLS handshake took too long."),
                }
            }
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, watcher: Watcher) {
        let Self { peer, mut place, requests, router, .. } = self;
        let router = TowerToHyperService::new(router);
        let (asked, under_way) = (Arc::new(Notify::new()), Arc::new(UnderWay::default()));
        let (told, answers) = (Arc::clone(&asked), Arc::clone(&under_way));
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            told.notify_one();
            let place = requests.enter(peer.site());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let place = place.map(Arc::new);
            if let Some(place) = &place {
                request.extensions_mut().insert(Held { _place: Arc::clone(place) });
            }
            // A proxy's HTTP/2 carries many viewers: none of them may end it for the others, and the proxy bounds each.
            let is_shared = peer.is_proxy && request.version() == Version::HTTP_2;
            let under_way = if is_shared { Arc::default() } else { Arc::clone(&answers) };
            let answered = place.map(|place| (place, router.call(request)));
            async move {
                let Some((place, answered)) = answered else { return Ok(one_too_many()) };
                answered.await.map(|response| Answer::begin(response, under_way, place).map(Body::new))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HEAD_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX);
        let mut connection = pin!(watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()));
        let outcome = tokio::select! {
            outcome = &mut connection => outcome,
            first = timeout(FIRST_REQUEST_TIMEOUT, asked.notified()) => {
                if first.is_err() {
                    tracing::debug!(peer = %peer.address, "Nothing was asked for in time.");
                    return;
                }
                place.admit();
                tokio::select! {
                    outcome = connection => outcome,
                    () = under_way.overdue() => {
                        tracing::debug!(peer = %peer.address, "An answer was not taken in time.");
                        return;
                    }
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, peer = %peer.address, "An HTTP connection ended early.");
        }
    }
}

/// Only a client with more requests at once than any viewer has reads this.
fn one_too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(SEND_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SEND_TIMEOUT))
}

#[cfg(test)]
mod tests;
