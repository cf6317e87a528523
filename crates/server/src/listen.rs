//! Serves HTTP over TCP and TLS. Connections have deadlines, and end with the server's stop.

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

pub(crate) use self::open_request::OpenRequest;
use self::{
    activity::Activity,
    response_body::{OpenResponses, ResponseBody},
};
use gostream_net::{
    connection_limiter::{ConnectionLimiter, ConnectionLimits, Permit, client_prefix},
    proxy::ProxyProtocol,
};

use crate::tls::ACME_TLS_1;

mod activity;
mod open_request;
mod response_body;

/// The limits of the HTTP port. Each connection costs a task and some kilobytes. Half of them remain for others when
/// the viewers of a school share one address and use up its share. Connections without a request so far are few, and
/// time out soon.
pub(crate) const LIMITS: ConnectionLimits = ConnectionLimits {
    waiting: 1_024,
    waiting_per_address: 256,
    connections: 4_096,
    connections_per_address: 2_048,
    proxies: 2_048,
};
/// The longest head of a request in HTTP/1 and HTTP/2: four times what browsers send with full cookies. Unfinished
/// heads use at most 128 MiB in total.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The flow-control window of HTTP/2: the largest request body that a route accepts.
const WINDOW_BYTES: u32 = 64 * 1024;
/// The most concurrent requests of an HTTP/2 connection; RFC 9113 section 6.5.2 recommends no fewer.
const STREAMS_MAX: u32 = 100;
/// The limits of concurrent requests, from the head of the request to the end of the response. Long-polling requests
/// wake with every part of their stream. There is room for two requests per possible connection, in total and per
/// address (a school's viewers have one blocked playlist request each), so this only limits the multiplexing of HTTP/2.
/// At the limit, the client with the most requests loses one.
const REQUESTS: ConnectionLimits = ConnectionLimits {
    waiting: usize::MAX,
    waiting_per_address: usize::MAX,
    connections: 16_384,
    connections_per_address: 4_096,
    proxies: 16_384,
};
/// A TLS handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to its first request, counted from the accept or the TLS handshake. Browsers open
/// some connections ahead of need, and open others when these are closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause between two requests of a connection, and the longest duration of a head. Players poll every two
/// seconds. It applies to HTTP/2 as well, even if the client answers pings.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the kernel closes the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may take to finish after the stop.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example because no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The peer of a connection. It is inserted into every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The peer's address.
    pub(crate) address: SocketAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) is_proxy: bool,
}

/// The trusted proxies. They are inserted into every request.
#[derive(Clone, Debug)]
pub(crate) struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Whether the address is that of a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        is_trusted(&self.0, address)
    }
}

fn is_trusted(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|range| range.contains(&address))
}

impl Peer {
    /// The prefix whose limits the connection counts against; `None` for a trusted proxy, which serves many clients.
    fn client_prefix(&self) -> Option<IpAddr> {
        (!self.is_proxy).then(|| client_prefix(self.address.ip()))
    }
}

/// The configuration of a port.
pub(crate) struct Port {
    pub(crate) tls: Option<TlsAcceptor>,
    /// The peers whose connections begin with a PROXY header.
    pub(crate) headers: ProxyProtocol,
    /// The trusted proxies.
    pub(crate) proxies: Arc<[IpNet]>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) router: Router,
}

/// Serves the port until `stop`, then gives open requests a moment to finish.
pub(crate) async fn serve(listener: TcpListener, port: Port, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let shared = Arc::new(Shared {
        limiter: ConnectionLimiter::new(port.limits),
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
                // The connection has a proxy's permit until its header names the client.
                if let Some(permit) = shared.limiter.connect(None) {
                    connections.spawn(Arc::clone(&shared).serve_proxied(stream, address, permit));
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

/// State that the connections of a port share.
struct Shared {
    port: Port,
    limiter: Arc<ConnectionLimiter>,
    requests: Arc<ConnectionLimiter>,
    stop: CancellationToken,
}

impl Shared {
    /// A connection of the client at `address`; `None` at the connection limit.
    fn connect(self: &Arc<Self>, address: SocketAddr) -> Option<Connection> {
        let is_proxy = is_trusted(&self.port.proxies, address.ip().to_canonical());
        let peer = Peer { address, is_proxy };
        let permit = self.limiter.connect(peer.client_prefix());
        if permit.is_none() {
            tracing::debug!(peer = %peer.address, "The connection limit is reached; closed an HTTP connection.");
        }
        Some(Connection { peer, permit: permit?, shared: Arc::clone(self) })
    }

    /// Reads the PROXY header of a connection and serves it as a connection of the client.
    async fn serve_proxied(self: Arc<Self>, mut stream: TcpStream, proxy: SocketAddr, permit: Permit) {
        let evicted = permit.evicted();
        let client = tokio::select! {
            () = self.stop.cancelled() => return,
            () = evicted.cancelled() => return,
            client = self.port.headers.client(&mut stream, proxy) => client,
        };
        drop(permit);
        match client.map(|client| self.connect(client)) {
            Ok(Some(connection)) => connection.run(stream).await,
            Ok(None) => {}
            Err(error) => tracing::debug!(%proxy, %error, "A connection had no valid PROXY header."),
        }
    }
}

struct Connection {
    peer: Peer,
    permit: Permit,
    shared: Arc<Shared>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        if let Err(error) = tune(&stream) {
            tracing::trace!(%error, "A socket option was refused.");
        }
        let Some(acceptor) = self.shared.port.tls.clone() else { return self.serve(stream).await };
        let evicted = self.permit.evicted();
        let accepted = tokio::select! {
            () = self.shared.stop.cancelled() => return,
            () = evicted.cancelled() => return,
            accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
        };
        match accepted {
            // The handshake completes the challenge; no data follows (RFC 8737 section 3).
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
        let Self { peer, permit, shared } = self;
        let (proxies, requests) = (Arc::clone(&shared.port.proxies), Arc::clone(&shared.requests));
        let router = TowerToHyperService::new(shared.port.router.clone());
        let (activity, open_responses) = (Activity::new(permit), Arc::new(OpenResponses::default()));
        let (begun, responses) = (Arc::clone(&activity), Arc::clone(&open_responses));
        let evicted = activity.evicted();
        let ends = evicted.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            // A missing request body and an unread response look the same from here; both end with their connection. A
            // proxy's connection is not closed, because it carries the requests of other clients as well.
            let permit = match peer.client_prefix() {
                Some(site) => requests.connect_with(Some(site), ends.clone()),
                None => requests.enter(None),
            };
            let open_request = permit.map(|permit| OpenRequest::new(permit, begun.begin()));
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(Proxies(Arc::clone(&proxies)));
            if let Some(open_request) = &open_request {
                request.extensions_mut().insert(open_request.clone());
            }
            // A proxy's HTTP/2 connection carries many viewers. A slow one must not close it for the others; the proxy
            // limits each of them.
            let is_shared = peer.is_proxy && request.version() == Version::HTTP_2;
            let open_responses = if is_shared { Arc::default() } else { Arc::clone(&responses) };
            let answered = open_request.map(|open_request| (open_request, router.call(request)));
            async move {
                let Some((open_request, answered)) = answered else { return Ok(too_many_requests()) };
                answered
                    .await
                    .map(|response| ResponseBody::begin(response, open_responses, open_request).map(Body::new))
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
            () = evicted.cancelled() => (None, "It was evicted for another connection."),
            () = activity.idle_for(HEAD_TIMEOUT) => (None, "It was idle."),
            () = no_first_request(&activity) => (None, "No request came in time."),
            () = open_responses.overdue() => (None, "A response was not read in time."),
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

/// Returns if the first request does not come in time; otherwise it never returns.
async fn no_first_request(activity: &Activity) {
    if timeout(FIRST_REQUEST_TIMEOUT, activity.first_request()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// The response beyond the limit of concurrent requests. Ordinary viewers never reach it.
fn too_many_requests() -> Response {
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
