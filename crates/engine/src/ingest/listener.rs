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

use super::{
    paced::{Pace, PacedStream},
    session::{self, Caller},
};
use crate::{
    door::{Door, Place, site},
    engine::Shared,
    net::prefer_bbr,
};

/// After a failed accept (no file descriptors left) waiting beats spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A dead peer behind a silent connection is found after about this time.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Accepts until the engine stops. TLS wraps every connection when `tls` is there.
pub(crate) async fn listen(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    door: Arc<Door>,
    shared: Arc<Shared>,
) {
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
        let Some(place) = door.connect(Some(site(peer.ip()))) else {
            debug!(%peer, "One connection too many; closed.");
            continue;
        };
        configure(&stream);
        let connection = Connection { peer, place, acceptor: acceptor.clone(), shared: Arc::clone(&shared) };
        let span = info_span!("connection", %peer);
        match shared.shards.next() {
            None => drop(shared.tasks.spawn(connection.run(stream).instrument(span))),
            Some(shard) => match stream.into_std() {
                Ok(stream) => drop(shared.tasks.spawn_on(connection.run_here(stream).instrument(span), shard)),
                Err(error) => warn!(%error, "A connection could not be handed over."),
            },
        }
    }
}

/// An accepted connection on its way to a task.
struct Connection {
    peer: SocketAddr,
    place: Place,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let evicted = self.place.evicted();
        tokio::select! {
            () = evicted.cancelled() => debug!("The connection was idle, and made room for another."),
            () = self.serve(stream) => {}
        }
    }

    async fn serve(self, stream: TcpStream) {
        let Self { peer, place, acceptor, shared } = self;
        let pace = Pace::default();
        let stream = PacedStream::new(stream, pace.clone());
        let caller = Caller { peer, pace };
        let Some(acceptor) = acceptor else { return session::run(stream, caller, place, shared).await };
        match timeout(shared.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => session::run(stream, caller, place, shared).await,
            _ => debug!("The TLS handshake failed."),
        }
    }

    /// On another thread than the one that accepted: sockets belong to the runtime that waits for them.
    async fn run_here(self, stream: std::net::TcpStream) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.run(stream).await,
            Err(error) => warn!(%error, "A connection could not be handed over."),
        }
    }
}

fn configure(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // For players; encoders get little from us.
    prefer_bbr(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
}

/// Where a listener is bound, or the sentence that says why it is not.
pub(crate) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, crate::engine::StartError> {
    crate::net::listen(address).map_err(|source| crate::engine::StartError { setting, address, source })
}
