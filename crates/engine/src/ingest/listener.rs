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

use super::{admission::Door, session};
use crate::engine::Shared;

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
        let Some(place) = door.enter(peer.ip()) else {
            debug!(%peer, "One connection too many; closed.");
            continue;
        };
        configure(&stream);
        let (acceptor, shared_for_task) = (acceptor.clone(), Arc::clone(&shared));
        let span = info_span!("connection", %peer);
        shared.tasks.spawn(
            async move {
                match acceptor {
                    None => session::run(stream, peer, place, shared_for_task).await,
                    Some(acceptor) => {
                        let handshake = timeout(shared_for_task.limits.handshake, acceptor.accept(stream)).await;
                        match handshake {
                            Ok(Ok(stream)) => session::run(stream, peer, place, shared_for_task).await,
                            _ => debug!("The TLS handshake failed."),
                        }
                    }
                }
            }
            .instrument(span),
        );
    }
}

fn configure(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
}

/// Where a listener is bound, or the sentence that says why it is not.
pub(crate) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, crate::engine::StartError> {
    crate::net::listen(address).map_err(|source| crate::engine::StartError { setting, address, source })
}
