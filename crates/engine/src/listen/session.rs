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
    limits::{READ_BYTES, READ_BYTES_OF_STRANGERS},
    outputs::rtmp_play,
    random::random_filler,
    rtmp::connection::{Caller, Connection, Over},
    show::{
        live::{Claim, Live, Ticket},
        seat::Denied,
        shared::Shared,
    },
    spec::StreamKey,
};

/// What an encoder or a player hears that names no key.
const NO_KEY: &str = "No stream key was given. Put the key of your project into the encoder.";
/// What a pull of our own hears that came back to us.
const ITSELF: &str = "This is the server that pulls: its own stream cannot come from itself.";

/// Serves one connection until it ends.
pub(crate) async fn run<S>(stream: S, caller: Caller, place: Permit, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        reader,
        writer,
        received: BytesMut::with_capacity(READ_BYTES_OF_STRANGERS),
        rtmp: ServerSession::new(random_filler()),
        peer: caller.peer,
        pace: caller.pace,
        read_bytes: READ_BYTES_OF_STRANGERS,
    };
    let outcome = tokio::select! {
        () = shared.closing.cancelled() => Ok(()),
        outcome = connection.serve(&place, &shared) => outcome,
    };
    match outcome {
        Ok(()) => {}
        Err(Over::Closed(_)) => debug!("The connection closed."),
        Err(error) => debug!(%error, "The connection was ended."),
    }
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    async fn serve(&mut self, place: &Permit, shared: &Arc<Shared>) -> Result<(), Over> {
        // An encoder that unpublished may publish again on the same connection.
        loop {
            let deadline = Instant::now() + shared.limits.request;
            let request = match timeout_at(deadline, self.request(shared)).await {
                Ok(request) => request?,
                Err(_) => return Err(Over::Late("request to publish or play")),
            };
            match request {
                Event::Publish(key) => match self.seat(key.as_deref(), shared).await {
                    Ok(seat) => {
                        place.admit();
                        place.busy();
                        self.read_bytes = READ_BYTES;
                        rtmp::run(self, seat, shared).await?;
                    }
                    Err(refusal) => return self.refuse(rtmp::DENIED, &refusal).await,
                },
                // What comes back would go round and round.
                Event::Play(_) if self.rtmp.flash_version() == shared.identity => {
                    return self.refuse("NetStream.Play.Failed", ITSELF).await;
                }
                Event::Play(key) => match self.live(key.as_deref(), shared).await {
                    Ok(Some(live)) => {
                        place.admit();
                        place.busy();
                        rtmp_play::run(self, &live.broadcast, &shared.limits).await?;
                    }
                    Ok(None) => {
                        return self.refuse("NetStream.Play.StreamNotFound", "Nobody is live with this key.").await;
                    }
                    Err(refusal) => return self.refuse("NetStream.Play.Failed", refusal).await,
                },
                Event::Media(_) | Event::Unpublish | Event::Stop => {}
            }
        }
    }

    /// The next request, from the handshake on.
    async fn request(&mut self, shared: &Shared) -> Result<Event, Over> {
        let handshake = Instant::now() + shared.limits.handshake;
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(event);
            }
            self.flush().await?;
            if self.rtmp.is_handshaken() {
                self.read().await?;
            } else {
                timeout_at(handshake, self.read()).await.map_err(|_| Over::Late("handshake"))??;
            }
        }
    }

    /// What an encoder with that key publishes to.
    async fn seat(&self, key: Option<&str>, shared: &Arc<Shared>) -> Result<(Arc<Live>, Ticket), String> {
        let key = StreamKey::new(key.ok_or(NO_KEY)?);
        shared.seat(&key, self.peer, Claim::TakeOver).await.map_err(Denied::sentence)
    }

    /// What a player with that key plays.
    async fn live(&self, key: Option<&str>, shared: &Shared) -> Result<Option<Arc<Live>>, &'static str> {
        let key = StreamKey::new(key.ok_or(NO_KEY)?);
        let asked = shared.registry.asked();
        let spec = shared.ask(&key, self.peer).await.map_err(Refusal::sentence)?;
        Ok(shared.registry.answered(&spec, asked))
    }
}
