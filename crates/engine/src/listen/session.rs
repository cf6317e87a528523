//! One connection up to its request to publish or play.

use std::sync::Arc;

use bytes::BytesMut;
use gostream_net::connection_limiter::Permit;
use gostream_proto::rtmp::server::{Event, ServerSession};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tracing::debug;

use crate::{
    admission::Refusal,
    inputs::rtmp,
    limits::{READ_BYTES, READ_BYTES_UNADMITTED},
    outputs::rtmp_play,
    random::random_filler,
    rtmp::connection::{Connection, ConnectionError, Peer},
    show::{
        live::{Claim, LiveProject, Ticket},
        seat::Denied,
        shared::Shared,
    },
    spec::StreamKey,
};

/// Refusal for a request without a key.
const NO_KEY: &str = "No stream key was given. Put the key of your project into the encoder.";
/// Refusal for a pull of this server from itself.
const PULLS_ITSELF: &str = "This server cannot pull a stream from itself.";

/// Serves one connection until it ends.
pub(crate) async fn run<S>(stream: S, peer: Peer, permit: Permit, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        reader,
        writer,
        received: BytesMut::with_capacity(READ_BYTES_UNADMITTED),
        rtmp: ServerSession::new(random_filler()),
        peer: peer.address,
        read_interval: peer.read_interval,
        read_bytes: READ_BYTES_UNADMITTED,
    };
    let outcome = tokio::select! {
        () = shared.closing.cancelled() => Ok(()),
        outcome = connection.serve(&permit, &shared) => outcome,
    };
    match outcome {
        Ok(()) => {}
        Err(ConnectionError::Closed(_)) => debug!("The connection closed."),
        Err(error) => debug!(%error, "The connection was ended."),
    }
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    async fn serve(&mut self, permit: &Permit, shared: &Arc<Shared>) -> Result<(), ConnectionError> {
        // An encoder that unpublished may publish again on the same connection.
        loop {
            let deadline = Instant::now() + shared.limits.request;
            let request = match timeout_at(deadline, self.request(shared)).await {
                Ok(request) => request?,
                Err(_) => return Err(ConnectionError::Late("request to publish or play")),
            };
            match request {
                Event::Publish(key) => match self.seat(key.as_deref(), shared).await {
                    Ok(seat) => {
                        permit.admit();
                        permit.busy();
                        self.read_bytes = READ_BYTES;
                        rtmp::run(self, seat, shared).await?;
                    }
                    Err(refusal) => return self.refuse(rtmp::DENIED, &refusal).await,
                },
                // A stream pulled from itself would loop.
                Event::Play(_) if self.rtmp.flash_version() == shared.identity => {
                    return self.refuse("NetStream.Play.Failed", PULLS_ITSELF).await;
                }
                Event::Play(key) => match self.live(key.as_deref(), shared).await {
                    Ok(Some(live)) => {
                        permit.admit();
                        permit.busy();
                        rtmp_play::run(self, &live.broadcast, &shared.limits).await?;
                    }
                    Ok(None) => {
                        return self.refuse("NetStream.Play.StreamNotFound", "No stream is live with this key.").await;
                    }
                    Err(refusal) => return self.refuse("NetStream.Play.Failed", refusal).await,
                },
                Event::Media(_) | Event::Unpublish | Event::Stop => {}
            }
        }
    }

    /// The next request; includes the handshake.
    async fn request(&mut self, shared: &Shared) -> Result<Event, ConnectionError> {
        let handshake = Instant::now() + shared.limits.handshake;
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(event);
            }
            self.flush().await?;
            if self.rtmp.is_handshaken() {
                self.read().await?;
            } else {
                timeout_at(handshake, self.read()).await.map_err(|_| ConnectionError::Late("handshake"))??;
            }
        }
    }

    /// The seat for an encoder with that key.
    async fn seat(&self, key: Option<&str>, shared: &Arc<Shared>) -> Result<(Arc<LiveProject>, Ticket), String> {
        let key = StreamKey::new(key.ok_or(NO_KEY)?);
        shared.seat(&key, self.peer, Claim::TakeOver).await.map_err(Denied::sentence)
    }

    /// The live project for a player with that key.
    async fn live(&self, key: Option<&str>, shared: &Shared) -> Result<Option<Arc<LiveProject>>, &'static str> {
        let key = StreamKey::new(key.ok_or(NO_KEY)?);
        let asked = shared.registry.asked();
        let spec = shared.ask(&key, self.peer).await.map_err(Refusal::sentence)?;
        Ok(shared.registry.live_for(&spec, asked))
    }
}
