//! A connection to a server as bytes: both directions in one poll, without the lock that splitting would need, and TCP
//! statistics.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use gostream_tcp::TcpInfo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::dial::Socket;
use gostream_net::congestion::has_bbr;

/// A connection and its received bytes.
#[derive(Debug)]
pub struct Transport {
    socket: Socket,
    /// Received, but not parsed yet.
    pub received: BytesMut,
    /// Bytes of one read.
    read_bytes: usize,
}

/// Result of [`Transport::exchange`].
#[derive(Debug)]
pub enum Exchanged {
    /// Bytes were received.
    Read,
    /// This number of bytes was written.
    Wrote(usize),
}

impl Transport {
    /// Wraps a connection; reads up to `read_bytes` at once.
    pub fn new(socket: Socket, read_bytes: usize) -> Self {
        Self { socket, received: BytesMut::with_capacity(read_bytes), read_bytes }
    }

    /// Writes some of `waiting`, or reads, whichever is possible first. Cancel safe. A close by the peer is an error.
    pub async fn exchange(&mut self, waiting: &mut impl Buf) -> io::Result<Exchanged> {
        poll_fn(|cx| self.poll_exchange(cx, waiting)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>, waiting: &mut impl Buf) -> Poll<io::Result<Exchanged>> {
        if waiting.has_remaining()
            && let Poll::Ready(wrote) = poll_write_buf(Pin::new(&mut self.socket), cx, waiting)?
        {
            let wrote = if wrote == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(Exchanged::Wrote(wrote)) };
            return Poll::Ready(wrote);
        }
        self.received.reserve(self.read_bytes);
        poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.received).map(|read| match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Exchanged::Read),
        })
    }

    /// Writes some of `waiting`, without reading.
    pub async fn write(&mut self, waiting: &mut impl Buf) -> io::Result<usize> {
        match self.socket.write_buf(waiting).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            wrote => Ok(wrote),
        }
    }

    /// TLS holds back bytes that do not fill a record; flush once nothing else is pending.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().await
    }

    /// Closes our direction, and reads until the platform closes. If we closed first, anything that the platform still
    /// sends would be answered with a reset, which discards the last of the stream on its way.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.socket.shutdown().await?;
        loop {
            self.received.clear();
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Ok(());
            }
        }
    }

    /// TCP statistics of the connection, where the kernel has them.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        self.socket.tcp_info()
    }

    /// Whether the connection uses `bbr` congestion control, which long and lossy paths need.
    pub fn has_bbr(&self) -> bool {
        has_bbr(self.socket.socket())
    }

    /// The peer's address.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.socket.socket().peer_addr()
    }
}
