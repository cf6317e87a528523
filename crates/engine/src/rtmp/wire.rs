//! The bytes of one connection to a server: both directions in one poll, without the lock that splitting would need, and
//! what the kernel knows of the way.

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

use super::dial::Transport;
use gostream_net::congestion::has_bbr;

/// A connection and what was received on it.
#[derive(Debug)]
pub struct Wire {
    transport: Transport,
    /// Received and not understood yet.
    pub received: BytesMut,
    /// Room for one read.
    read_bytes: usize,
}

/// What an exchange brought.
#[derive(Debug)]
pub enum Exchanged {
    /// Bytes came.
    Read,
    /// So many bytes left.
    Wrote(usize),
}

impl Wire {
    /// Takes over a connection, to read so many bytes at once.
    pub fn new(transport: Transport, read_bytes: usize) -> Self {
        Self { transport, received: BytesMut::with_capacity(read_bytes), read_bytes }
    }

    /// Writes what waits, if something does, and reads what comes, whichever is possible first. Cancel safe. An error is the
    /// end of the connection; so is its close by the other end.
    pub async fn exchange(&mut self, waiting: &mut impl Buf) -> io::Result<Exchanged> {
        poll_fn(|cx| self.poll_exchange(cx, waiting)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>, waiting: &mut impl Buf) -> Poll<io::Result<Exchanged>> {
        if waiting.has_remaining()
            && let Poll::Ready(wrote) = poll_write_buf(Pin::new(&mut self.transport), cx, waiting)?
        {
            let wrote = if wrote == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(Exchanged::Wrote(wrote)) };
            return Poll::Ready(wrote);
        }
        self.received.reserve(self.read_bytes);
        poll_read_buf(Pin::new(&mut self.transport), cx, &mut self.received).map(|read| match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Exchanged::Read),
        })
    }

    /// Writes something of what waits, whatever comes meanwhile.
    pub async fn write(&mut self, waiting: &mut impl Buf) -> io::Result<usize> {
        match self.transport.write_buf(waiting).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            wrote => Ok(wrote),
        }
    }

    /// TLS holds back what fits no full record; once nothing else waits it has to leave.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.transport.flush().await
    }

    /// Says that nothing more comes, and reads until the platform closes. Closing first would answer whatever it still says
    /// with a reset, which takes back the last of the stream while it is on its way.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.transport.shutdown().await?;
        loop {
            self.received.clear();
            if self.transport.read_buf(&mut self.received).await? == 0 {
                return Ok(());
            }
        }
    }

    /// What the kernel knows of the connection, where it tells.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        self.transport.tcp_info()
    }

    /// Whether it sends as `bbr` says, which far and lossy ways need.
    pub fn has_bbr(&self) -> bool {
        has_bbr(self.transport.socket())
    }

    /// The other end.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.transport.socket().peer_addr()
    }
}
