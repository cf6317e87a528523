//! One connection up to its request to publish or play.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{Buf, BytesMut};
use gostream_proto::rtmp::server::{self, Event, ServerSession};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{excess::Excess, paced::Pace, play, publish, seat::Denied};
use crate::{
    broadcast::registry::{Claim, Live, Ticket},
    door::Place,
    engine::{Refusal, Shared},
    limits::{READ_BYTES, READ_BYTES_OF_STRANGERS, REFUSAL_LINGER},
    relay::opening::random_filler,
    spec::StreamKey,
};

/// What an encoder or a player hears that names no key.
const NO_KEY: &str = "No stream key was given. Put the key of your project into the encoder.";
/// What a pull of our own hears that came back to us.
const ITSELF: &str = "This is the server that pulls: its own stream cannot come from itself.";

/// A connection and its RTMP session.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) reader: ReadHalf<S>,
    pub(crate) writer: WriteHalf<S>,
    pub(crate) received: BytesMut,
    pub(crate) rtmp: ServerSession,
    pub(crate) peer: SocketAddr,
    /// How often the socket is read.
    pub(crate) pace: Pace,
    /// Room for one read.
    read_bytes: usize,
}

/// Who connected, and how its socket is read.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    pub(crate) pace: Pace,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Over {
    /// The peer closed, or the network did.
    #[error("the connection closed")]
    Closed(#[from] io::Error),
    /// What came is no RTMP, or hostile.
    #[error(transparent)]
    Protocol(#[from] server::Error),
    /// A deadline passed.
    #[error("no {0} in time")]
    Late(&'static str),
    /// More media came than may, for too long.
    #[error(transparent)]
    TooFast(Excess),
}

/// Serves one connection until it ends.
pub(crate) async fn run<S>(stream: S, caller: Caller, mut place: Place, shared: Arc<Shared>)
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
        outcome = connection.serve(&mut place, &shared) => outcome,
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
    async fn serve(&mut self, place: &mut Place, shared: &Arc<Shared>) -> Result<(), Over> {
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
                        self.read_bytes = READ_BYTES;
                        publish::run(self, seat, shared).await?;
                    }
                    Err(refusal) => return self.refuse(publish::DENIED, &refusal).await,
                },
                // What comes back would go round and round.
                Event::Play(_) if self.rtmp.flash_version() == shared.identity => {
                    return self.refuse("NetStream.Play.Failed", ITSELF).await;
                }
                Event::Play(key) => match self.live(key.as_deref(), shared).await {
                    Ok(Some(live)) => {
                        place.admit();
                        play::run(self, &live.broadcast, &shared.limits).await?;
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

    /// Says no, lets the peer read it, and closes. Without the pause OBS would only see a lost connection.
    pub(crate) async fn refuse(&mut self, code: &str, why: &str) -> Result<(), Over> {
        info!(refusal.code = code, "A connection was refused. {why}");
        self.rtmp.refuse(code, why);
        self.flush().await?;
        self.writer.shutdown().await?;
        let mut sink = [0; 1_024];
        let drained = async { while !matches!(self.reader.read(&mut sink).await, Ok(0) | Err(_)) {} };
        let _ = timeout(REFUSAL_LINGER, drained).await;
        Ok(())
    }

    /// The next event in what was received.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, server::Error> {
        let mut input = self.received.as_ref();
        let event = self.rtmp.advance(&mut input);
        let used = self.received.len() - input.len();
        self.received.advance(used);
        event
    }

    /// Reads some bytes.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        self.received.reserve(self.read_bytes);
        match self.reader.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends what waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.rtmp.outbox().has_remaining() {
            return Ok(());
        }
        while self.rtmp.outbox().has_remaining() {
            if self.writer.write_buf(self.rtmp.outbox()).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.writer.flush().await
    }
}
