//! Reading a connection without copying: the kernel discards the bytes (`MSG_TRUNC`, tcp(7)), so that a receiver is cheap.

use std::{io, mem::MaybeUninit};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

/// Bytes discarded at a time.
const DISCARD_BYTES: usize = 1024 * 1024;

/// Discards everything up to the end of `stream`, and passes the number of bytes of each read to `count`.
pub async fn discard(stream: &TcpStream, count: impl Fn(usize)) -> io::Result<()> {
    let mut nothing = vec![MaybeUninit::<u8>::uninit(); DISCARD_BYTES];
    loop {
        stream.readable().await?;
        let discarded =
            stream.try_io(Interest::READABLE, || SockRef::from(stream).recv_with_flags(&mut nothing, libc::MSG_TRUNC));
        match discarded {
            Ok(0) => return Ok(()),
            Ok(bytes) => count(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
