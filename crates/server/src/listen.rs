//! TCP and TLS below HTTP: sockets bound for IPv4 and IPv6, and connections served with deadlines until the stop.

use std::{
    io,
    net::{IpAddr, SocketAddr},
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

use hyper::{body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::held::Held;
use self::{
    activity::Activity,
    answer::{Answer, UnderWay},
};
use gostream_net::{
    connection_limiter::{ConnectionLimiter, ConnectionLimits, Permit, client_prefix},
    proxy::ProxyProtocol,
};

use crate::tls::ACME_TLS_1;

mod activity;
mod answer;
mod held;

/// Each connection costs a task and some kilobytes. Half of them are left for others when a school that watches behind one
/// address fills its share; those that have not asked for anything yet are few, and not for long.
pub(crate) const PLACES: ConnectionLimits = ConnectionLimits {
    waiting: 1_024,
    waiting_per_address: 256,
    connections: 4_096,
    connections_per_address: 2_048,
    proxies: 2_048,
};
/// The longest head of a request, of HTTP/1 and HTTP/2: four times what browsers send with full cookies. The
/// places of strangers together hold 128 MiB of half heads at most.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// What an HTTP/2 connection may send before it is read; the largest body that any route takes.
const WINDOW_BYTES: u32 = 64 * 1024;
/// Requests of one connection of HTTP/2 at once; RFC 9113 section 6.5.2 recommends no fewer.
const STREAMS_MAX: u32 = 100;
/// Requests at once, from the head to the end of the answer; a held one is looked at with every part of its stream.
/// One for each connection that there may be fits twice, of an address as well (a school's viewers hold a playlist each), so this
/// only bounds what HTTP/2 makes of them. When all are taken, who holds the most makes room.
const REQUESTS: ConnectionLimits = ConnectionLimits {
    waiting: usize::MAX,
    waiting_per_address: usize::MAX,
    connections: 16_384,
    connections_per_address: 4_096,
    proxies: 16_384,
};
/// A TLS handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection (or its TLS handshake) to its first request. Browsers open some ahead of need, and open others when
/// these are closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one connection, and for the head of a request. Players poll every two seconds. HTTP/2 has it too,
/// whatever pings it answers.
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

/// Who is believed about whom it speaks for, put into every request.
#[derive(Clone, Debug)]
pub(crate) struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Whether the address is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        is_trusted(&self.0, address)
    }
}

fn is_trusted(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|range| range.contains(&address))
}

impl Peer {
    /// Whose places it takes; nobody's if it speaks for many.
    fn client_prefix(&self) -> Option<IpAddr> {
        (!self.is_proxy).then(|| client_prefix(self.address.ip()))
    }
}

/// What a port serves, and how.
pub(crate) struct Port {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Who says first whose connection it is.
    pub(crate) headers: ProxyProtocol,
    /// Who is believed about whom it speaks for.
    pub(crate) proxies: Arc<[IpNet]>,
    pub(crate) places: ConnectionLimits,
    pub(crate) router: Router,
}

/// Serves the port until `stop`, then lets open requests finish for a moment.
pub(crate) async fn serve(listener: TcpListener, port: Port, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let shared = Arc::new(Shared {
        door: ConnectionLimiter::new(port.places),
        requests: ConnectionLimiter::new(REQUESTS),
        port,
        stop,
    });
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) if shared.port.headers.expects(address.ip()) => {
                // It has a proxy's place until it said whose connection it is.
                if let Some(place) = shared.door.connect(None) {
                    connections.spawn(Arc::clone(&shared).introduced(stream, address, place));
                }
            }
            Ok((stream, address)) => {
                if let Some(connection) = shared.connect(address) {
                    connections.spawn(connection.run(stream));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        tracing::debug!("Some HTTP connections were still busy at the stop.");
    }
}

/// What the connections of a port share.
struct Shared {
    port: Port,
    door: Arc<ConnectionLimiter>,
    requests: Arc<ConnectionLimiter>,
    stop: CancellationToken,
}

impl Shared {
    /// A connection of the client at `address`, if there is a place for it.
    fn connect(self: &Arc<Self>, address: SocketAddr) -> Option<Connection> {
        let is_proxy = is_trusted(&self.port.proxies, address.ip().to_canonical());
        let peer = Peer { address, is_proxy };
        let place = self.door.connect(peer.client_prefix());
        if place.is_none() {
            tracing::debug!(peer = %peer.address, "One HTTP connection too many; closed.");
        }
        Some(Connection { peer, place: place?, shared: Arc::clone(self) })
    }

    /// Serves a connection that a proxy passes on, as that of its client.
    async fn introduced(self: Arc<Self>, mut stream: TcpStream, proxy: SocketAddr, place: Permit) {
        let evicted = place.evicted();
        let client = tokio::select! {
            () = self.stop.cancelled() => return,
            () = evicted.cancelled() => return,
            client = self.port.headers.client(&mut stream, proxy) => client,
        };
        drop(place);
        match client.map(|client| self.connect(client)) {
            Ok(Some(connection)) => connection.run(stream).await,
            Ok(None) => {}
            Err(error) => tracing::debug!(%proxy, %error, "A connection had no PROXY header."),
        }
    }
}

struct Connection {
    peer: Peer,
    place: Permit,
    shared: Arc<Shared>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        if let Err(error) = tune(&stream) {
            tracing::trace!(%error, "A socket option was refused.");
        }
        let Some(acceptor) = self.shared.port.tls.clone() else { return self.serve(stream).await };
        let evicted = self.place.evicted();
        let accepted = tokio::select! {
            () = self.shared.stop.cancelled() => return,
            () = evicted.cancelled() => return,
            accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
        };
        match accepted {
            // The handshake was the answer; RFC 8737 section 3 wants nothing after it.
            Ok(Ok(mut stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS_1) => {
                if let Ok(Err(error)) = timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await {
                    tracing::debug!(%error, peer = %self.peer.address, "A challenge ended early.");
                }
            }
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, peer = %self.peer.address, "A TLS handshake failed."),
            Err(_) => tracing::debug!(peer = %self.peer.address, "A TLS handshake took too long."),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, place, shared } = self;
        let (proxies, requests) = (Arc::clone(&shared.port.proxies), Arc::clone(&shared.requests));
        let router = TowerToHyperService::new(shared.port.router.clone());
        let (activity, under_way) = (Activity::new(place), Arc::new(UnderWay::default()));
        let (begun, answers) = (Arc::clone(&activity), Arc::clone(&under_way));
        let evicted = activity.evicted();
        let ends = evicted.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            // A body that does not come and an answer that is not taken look alike, and end with their connection. That of a
            // proxy carries other people's requests as well.
            let place = match peer.client_prefix() {
                Some(site) => requests.connect_with(Some(site), ends.clone()),
                None => requests.enter(None),
            };
            let held = place.map(|place| Held::new(place, begun.begin()));
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(Proxies(Arc::clone(&proxies)));
            if let Some(held) = &held {
                request.extensions_mut().insert(held.clone());
            }
            // A proxy's HTTP/2 carries many viewers: none of them may end it for the others, and the proxy bounds each.
            let is_shared = peer.is_proxy && request.version() == Version::HTTP_2;
            let under_way = if is_shared { Arc::default() } else { Arc::clone(&answers) };
            let answered = held.map(|held| (held, router.call(request)));
            async move {
                let Some((held, answered)) = answered else { return Ok(one_too_many()) };
                answered.await.map(|response| Answer::begin(response, under_way, held).map(Body::new))
            }
        });
        let builder = protocols();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let (outcome, why) = tokio::select! {
            outcome = connection.as_mut() => (Some(outcome), ""),
            () = shared.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                (timeout(GRACE, connection).await.ok(), "The server stops.")
            }
            () = evicted.cancelled() => (None, "It made room for another."),
            () = activity.idle_for(HEAD_TIMEOUT) => (None, "It was idle."),
            () = nothing_asked(&activity) => (None, "Nothing was asked for in time."),
            () = under_way.overdue() => (None, "An answer was not taken in time."),
        };
        match outcome {
            None => tracing::debug!(peer = %peer.address, "A connection was closed. {why}"),
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, peer = %peer.address, "An HTTP connection ended early."),
        }
    }
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    builder
}

/// Returns if no first request comes in time.
async fn nothing_asked(activity: &Activity) {
    if timeout(FIRST_REQUEST_TIMEOUT, activity.asked()).await.is_ok() {
        std::future::pending::<()>().await;
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
