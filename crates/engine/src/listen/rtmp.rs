//! Accepts connections, plain and TLS, and spawns a task for each.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, debug, info_span, warn};

use gostream_net::{
    connection_limiter::{ConnectionLimiter, Permit, client_prefix},
    proxy::ProxyProtocol,
};

use super::session;
use crate::{
    rtmp::{
        connection::Peer,
        paced::{PacedStream, ReadInterval},
    },
    show::shared::Shared,
};

/// Pause after a failed accept (no file descriptors left), to avoid spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A dead peer is detected after about this time.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A listening port.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// If set, every connection uses TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Proxies whose connections begin with a PROXY header.
    pub(crate) proxies: ProxyProtocol,
    pub(crate) limiter: Arc<ConnectionLimiter>,
}

/// Accepts connections until the engine stops.
pub(crate) async fn listen(port: Port, shared: Arc<Shared>) {
    let Port { listener, tls, proxies, limiter } = port;
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            () = shared.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "A connection could not be accepted.");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let expects_header = proxies.expects(peer.ip());
        // A proxy's connection gets a permit for its client once that is known.
        let Some(permit) = limiter.connect((!expects_header).then(|| client_prefix(peer.ip()))) else {
            debug!(%peer, "Closed a connection: the limit is reached.");
            continue;
        };
        configure(&stream);
        let header = expects_header.then(|| (proxies.clone(), Arc::clone(&limiter)));
        let connection = Connection { peer, header, permit, acceptor: acceptor.clone(), shared: Arc::clone(&shared) };
        match shared.shards.next() {
            None => drop(shared.tasks.spawn(connection.begin(stream))),
            Some(shard) => match stream.into_std() {
                Ok(stream) => drop(shared.tasks.spawn_on(connection.begin_here(stream), shard)),
                Err(error) => warn!(%error, "A connection could not be moved to its thread."),
            },
        }
    }
}

/// An accepted connection before its task.
struct Connection {
    peer: SocketAddr,
    /// Set if a PROXY header is expected; its client then needs a permit of this limiter.
    header: Option<(ProxyProtocol, Arc<ConnectionLimiter>)>,
    permit: Permit,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn begin(mut self, mut stream: TcpStream) {
        if let Some((proxies, limiter)) = self.header.take() {
            let evicted = self.permit.evicted();
            let client = tokio::select! {
                () = self.shared.closing.cancelled() => return,
                () = evicted.cancelled() => return,
                client = proxies.client(&mut stream, self.peer) => client,
            };
            let proxy = self.peer;
            match client {
                Ok(client) => self.peer = client,
                Err(error) => return debug!(%proxy, %error, "A connection had no PROXY header."),
            }
            match limiter.connect(Some(client_prefix(self.peer.ip()))) {
                Some(permit) => self.permit = permit,
                None => return debug!(%proxy, peer = %self.peer, "Closed a connection: the limit is reached."),
            }
        }
        let span = info_span!("connection", peer = %self.peer);
        self.run(stream).instrument(span).await;
    }

    /// Runs on the thread that will serve the connection: sockets belong to the runtime that polls them.
    async fn begin_here(self, stream: std::net::TcpStream) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.begin(stream).await,
            Err(error) => warn!(%error, "A connection could not be moved to its thread."),
        }
    }

    async fn run(self, stream: TcpStream) {
        let evicted = self.permit.evicted();
        tokio::select! {
            () = evicted.cancelled() => debug!("Closed an idle connection to make room for another."),
            () = self.serve(stream) => {}
        }
    }

    async fn serve(self, stream: TcpStream) {
        let Self { peer, permit, acceptor, shared, .. } = self;
        let read_interval = ReadInterval::default();
        let stream = PacedStream::new(stream, read_interval.clone());
        let peer = Peer { address: peer, read_interval };
        let Some(acceptor) = acceptor else { return session::run(stream, peer, permit, shared).await };
        match timeout(shared.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => session::run(stream, peer, permit, shared).await,
            _ => debug!("The TLS handshake failed."),
        }
    }
}

fn configure(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
}
