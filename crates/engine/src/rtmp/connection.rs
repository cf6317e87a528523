//! An accepted connection with its RTMP session: bytes in, events out.

use std::{io, net::SocketAddr};

use bytes::{Buf as _, BytesMut};
use gostream_proto::rtmp::server::{self, Event, ServerSession};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::timeout,
};
use tracing::info;

use super::paced::ReadInterval;
use crate::limits::REFUSAL_LINGER;

/// A connection and its RTMP session.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) reader: ReadHalf<S>,
    pub(crate) writer: WriteHalf<S>,
    pub(crate) received: BytesMut,
    pub(crate) rtmp: ServerSession,
    pub(crate) peer: SocketAddr,
    /// How often the socket is read.
    pub(crate) read_interval: ReadInterval,
    /// Bytes of one read.
    pub(crate) read_bytes: usize,
}

/// The peer of a connection, and how often its socket is read.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) read_interval: ReadInterval,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The peer or the network closed it.
    #[error("the connection closed")]
    Closed(#[from] io::Error),
    /// The peer sent invalid or hostile RTMP.
    #[error(transparent)]
    Protocol(#[from] server::Error),
    /// A deadline passed.
    #[error("no {0} in time")]
    Late(&'static str),
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    /// Sends a refusal, gives the peer time to read it, and closes. Without that time OBS would only show a lost
    /// connection.
    pub(crate) async fn refuse(&mut self, code: &str, why: &str) -> Result<(), ConnectionError> {
        info!(refusal.code = code, "A connection was refused. {why}");
        self.rtmp.refuse(code, why);
        self.flush().await?;
        self.writer.shutdown().await?;
        let mut sink = [0; 1_024];
        let drained = async { while !matches!(self.reader.read(&mut sink).await, Ok(0) | Err(_)) {} };
        let _ = timeout(REFUSAL_LINGER, drained).await;
        Ok(())
    }

    /// The next event from the received bytes.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, server::Error> {
        self.rtmp.next_event(&mut self.received)
    }

    /// Reads some bytes.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        self.received.reserve(self.read_bytes);
        match self.reader.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends some pending bytes or reads some, whichever is possible first. Cancel safe.
    pub(crate) async fn read_or_write(&mut self) -> io::Result<()> {
        self.received.reserve(self.read_bytes);
        let Self { reader, writer, received, rtmp, .. } = self;
        tokio::select! {
            biased;
            wrote = writer.write_buf(rtmp.outbox()) => match wrote? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                _ if rtmp.outbox().has_remaining() => {}
                _ => writer.flush().await?,
            },
            read = reader.read_buf(received) => if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            },
        }
        Ok(())
    }

    /// Sends all pending bytes.
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
