//! The platforms: accept every connection, count every byte, and measure the delay on a few connections.
//!
//! A sink must be cheap, or it would measure itself. After the handshake, most connections discard their bytes inside
//! the kernel (`MSG_TRUNC`, tcp(7)); only the first few are parsed.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use gostream_proto::rtmp::{
    media::MediaKind,
    server::{Event, ServerSession},
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{discard::discard, source::Departures};

/// Number of connections that are parsed message by message.
const UNDERSTOOD: usize = 4;

/// A listening platform.
#[derive(Debug)]
pub struct Sink {
    /// Its address.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Media bytes of every publishing connection.
    connections: Mutex<Vec<Arc<AtomicU64>>>,
    understood: AtomicUsize,
    measures: AtomicBool,
    delays: Mutex<Vec<Duration>>,
    departures: Departures,
}

impl Sink {
    /// Listens on a free port, with TLS if configured.
    pub async fn start(departures: Departures, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1_024)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { departures, ..State::default() });
        tokio::spawn(listen(listener, tls, Arc::clone(&state)));
        Ok(Self { address, state })
    }

    /// Number of connections that sent media.
    pub fn receiving(&self) -> usize {
        self.counts().iter().filter(|&&bytes| bytes > 0).count()
    }

    /// Bytes of each connection.
    pub fn counts(&self) -> Vec<u64> {
        let connections = self.state.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }

    /// Starts to record delays.
    pub fn measure(&self) {
        self.state.measures.store(true, Ordering::Relaxed);
    }

    /// The recorded delays, sorted.
    pub fn delays(&self) -> Vec<Duration> {
        let mut delays = self.state.delays.lock().unwrap_or_else(PoisonError::into_inner).clone();
        delays.sort_unstable();
        delays
    }
}

async fn listen(listener: TcpListener, tls: Option<Arc<ServerConfig>>, state: Arc<State>) {
    let acceptor = tls.map(TlsAcceptor::from);
    while let Ok((stream, _)) = listener.accept().await {
        let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
        tokio::spawn(async move {
            let _ = match acceptor {
                None => plain(stream, &state).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => encrypted(stream, &state).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn plain(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut taker = Taker::new(state);
    taker.take(&mut stream).await?;
    discard(&stream, |bytes| taker.count(bytes)).await
}

async fn encrypted(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut taker = Taker::new(state);
    taker.take(&mut stream).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            bytes => taker.count(bytes),
        }
    }
}

/// Handles a connection until its media begins, or until its end if it is parsed.
struct Taker<'a> {
    state: &'a State,
    bytes: Arc<AtomicU64>,
    understands: bool,
}

impl<'a> Taker<'a> {
    fn new(state: &'a State) -> Self {
        Self { state, bytes: Arc::default(), understands: false }
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    async fn take<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        let mut session = ServerSession::new([0x50; 1_528]);
        let mut received = BytesMut::with_capacity(64 * 1024);
        loop {
            let mut input = received.as_ref();
            let event = session.advance(&mut input).map_err(io::Error::other)?;
            let used = received.len() - input.len();
            received.advance(used);
            match event {
                Some(Event::Publish(_)) => {
                    session.accept_publish();
                    let mut connections = self.state.connections.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.push(Arc::clone(&self.bytes));
                    self.understands = self.state.understood.fetch_add(1, Ordering::Relaxed) < UNDERSTOOD;
                }
                Some(Event::Media(media)) => {
                    if !self.understands {
                        self.count(received.len() + media.body.len());
                        return Ok(());
                    }
                    if media.kind == MediaKind::Video && self.state.measures.load(Ordering::Relaxed) {
                        let delay = self.state.departures.delay(&media.body);
                        self.state.delays.lock().unwrap_or_else(PoisonError::into_inner).extend(delay);
                    }
                }
                Some(_) => {}
                None => {
                    while session.outbox().has_remaining() {
                        stream.write_buf(session.outbox()).await?;
                    }
                    stream.flush().await?;
                    received.reserve(64 * 1024);
                    match stream.read_buf(&mut received).await? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        bytes if self.understands => self.count(bytes),
                        _ => {}
                    }
                }
            }
        }
    }
}
