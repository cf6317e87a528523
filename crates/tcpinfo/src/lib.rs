//! What the kernel knows of a TCP connection (Linux `TCP_INFO`, tcp(7)): how long the way is, and what is still on it.
//!
//! The only crate with `unsafe` in it, and this one call is why it exists: no maintained crate asks the kernel without
//! bindings generated at build time.

use std::{io, os::fd::AsFd, time::Duration};

/// A connection at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// Bytes that the other end has acknowledged since the connection began.
    pub acknowledged_bytes: u64,
    /// Bytes in the kernel that were not sent yet, not even once.
    pub unsent_bytes: u32,
    /// Segments that were sent and are not acknowledged yet.
    pub unacknowledged_segments: u32,
    /// Segments sent again, ever.
    pub retransmitted_segments: u32,
}

impl TcpInfo {
    /// Whether something is on its way, or waits to be.
    pub fn has_outstanding(&self) -> bool {
        self.unsent_bytes > 0 || self.unacknowledged_segments > 0
    }
}

/// Asks the kernel. Fails for what is no TCP socket, and with [`io::ErrorKind::Unsupported`] off Linux.
pub fn tcp_info(socket: &impl AsFd) -> io::Result<TcpInfo> {
    ask(socket)
}

#[cfg(target_os = "linux")]
fn ask(socket: &impl AsFd) -> io::Result<TcpInfo> {
    use std::{mem::size_of, os::fd::AsRawFd as _};

    // SAFETY: a struct of integers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `info` and `length` live over the call, `length` says how much room `info` has, and the borrowed descriptor is
    // open. An older kernel fills less of it; the rest stays zero.
    let answer = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast::<libc::c_void>(), &raw mut length)
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        acknowledged_bytes: info.tcpi_bytes_acked,
        unsent_bytes: info.tcpi_notsent_bytes,
        unacknowledged_segments: info.tcpi_unacked,
        retransmitted_segments: info.tcpi_total_retrans,
    })
}

#[cfg(not(target_os = "linux"))]
fn ask(_socket: &impl AsFd) -> io::Result<TcpInfo> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream, UdpSocket},
    };

    use super::*;

    #[test]
    fn acknowledged_bytes_are_those_that_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        let before = tcp_info(&client).expect("is TCP");
        client.write_all(&[7; 10_000]).expect("writes");
        server.read_exact(&mut [0; 10_000]).expect("reads");
        // An answer carries the acknowledgement with it.
        server.write_all(&[1]).expect("writes");
        client.read_exact(&mut [0]).expect("reads");
        let after = tcp_info(&client).expect("is TCP");
        assert_eq!(after.acknowledged_bytes - before.acknowledged_bytes, 10_000);
        assert!(!after.has_outstanding());
        assert!(after.rtt > Duration::ZERO && after.rtt < Duration::from_secs(1), "{after:?}");
    }

    #[test]
    fn other_sockets_are_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        assert!(tcp_info(&socket).is_err());
    }
}
