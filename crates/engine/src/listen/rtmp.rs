//! Takes connections, plain and TLS, and gives each a task.

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
        connection::Caller,
        paced::{Pace, PacedStream},
    },
    show::shared::Shared,
};

/// After a failed accept (no file descriptors left) waiting beats spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A dead peer behind a silent connection is found after about this time.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A port that takes connections.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// Wraps every connection in TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Those that say first whose connection it is.
    pub(crate) proxies: ProxyProtocol,
    pub(crate) door: Arc<ConnectionLimiter>,
}

/// Accepts until the engine stops.
pub(crate) async fn listen(port: Port, shared: Arc<Shared>) {
    let Port { listener, tls, proxies, door } = port;
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            () = shared.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "No connection could be taken.");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let expects_header = proxies.expects(peer.ip());
        // A proxy's connection has the place of its client as soon as that is known.
        let Some(place) = door.connect((!expects_header).then(|| client_prefix(peer.ip()))) else {
            debug!(%peer, "One connection too many; closed.");
            continue;
        };
        configure(&stream);
        let header = expects_header.then(|| (proxies.clone(), Arc::clone(&door)));
        let connection = Connection { peer, header, place, acceptor: acceptor.clone(), shared: Arc::clone(&shared) };
        match shared.shards.next() {
            None => drop(shared.tasks.spawn(connection.begin(stream))),
            Some(shard) => match stream.into_std() {
                Ok(stream) => drop(shared.tasks.spawn_on(connection.begin_here(stream), shard)),
                Err(error) => warn!(%error, "A connection could not be handed over."),
            },
        }
    }
}

/// An accepted connection on its way to a task.
struct Connection {
    peer: SocketAddr,
    /// It begins with a PROXY header; its client takes a place at this door.
    header: Option<(ProxyProtocol, Arc<ConnectionLimiter>)>,
    place: Permit,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn begin(mut self, mut stream: TcpStream) {
        if let Some((proxies, door)) = self.header.take() {
            let evicted = self.place.evicted();
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
            match door.connect(Some(client_prefix(self.peer.ip()))) {
                Some(place) => self.place = place,
                None => return debug!(%proxy, peer = %self.peer, "One connection too many; closed."),
            }
        }
        let span = info_span!("connection", peer = %self.peer);
        self.run(stream).instrument(span).await;
    }

    /// On another thread than the one that accepted: sockets belong to the runtime that waits for them.
    async fn begin_here(self, stream: std::net::TcpStream) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.begin(stream).await,
            Err(error) => warn!(%error, "A connection could not be handed over."),
        }
    }

    async fn run(self, stream: TcpStream) {
        let evicted = self.place.evicted();
        tokio::select! {
            () = evicted.cancelled() => debug!("The connection was idle, and made room for another."),
            () = self.serve(stream) => {}
        }
    }

    async fn serve(self, stream: TcpStream) {
        let Self { peer, place, acceptor, shared, .. } = self;
        let pace = Pace::default();
        let stream = PacedStream::new(stream, pace.clone());
        let caller = Caller { peer, pace };
        let Some(acceptor) = acceptor else { return session::run(stream, caller, place, shared).await };
        match timeout(shared.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => session::run(stream, caller, place, shared).await,
            _ => debug!("The TLS handshake failed."),
        }
    }
}

fn configure(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
}
