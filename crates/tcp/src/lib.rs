//! TCP connection figures from the kernel (Linux `TCP_INFO`, tcp(7)), the receive low-water mark, and reading without
//! waiting.
//!
//! This is the only crate with `unsafe`. It exists for these three system calls: no maintained crate makes them without
//! bindings generated at build time.

use std::{io, os::fd::AsFd, time::Duration};

use bytes::BufMut;

/// The figures of a connection at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The shortest recent round-trip time, which excludes queueing delay.
    pub min_rtt: Duration,
    /// Bytes that the peer has acknowledged since the connection began.
    pub acknowledged_bytes: u64,
    /// Bytes in the kernel's send buffer that were never sent.
    pub unsent_bytes: u32,
    /// Segments that were sent and not yet acknowledged.
    pub unacknowledged_segments: u32,
    /// Of those, segments that the peer received although an earlier one is missing (SACK).
    pub selectively_acknowledged_segments: u32,
    /// Segments with data sent since the connection began, including retransmissions.
    pub sent_segments: u32,
    /// Segments retransmitted since the connection began.
    pub retransmitted_segments: u32,
    /// Consecutive retransmission timeouts of the oldest segment.
    pub lost_in_a_row: u32,
    /// Time since data was last received.
    pub since_received: Duration,
    /// Total time with data to send.
    pub busy: Duration,
    /// How much of `busy` was limited by the peer's receive window.
    pub window_limited: Duration,
}

impl TcpInfo {
    /// Whether data is unacknowledged or waits to be sent.
    pub fn has_outstanding(&self) -> bool {
        self.unsent_bytes > 0 || self.unacknowledged_segments > 0
    }
}

/// Reads `TCP_INFO`. Fails for anything but a TCP socket, and with [`io::ErrorKind::Unsupported`] on other systems than
/// Linux.
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
    // SAFETY: `info` and `length` outlive the call, `length` is the size of `info`, and the borrowed descriptor is
    // open. An older kernel writes fewer bytes; the rest stays zero.
    let answer = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast::<libc::c_void>(), &raw mut length)
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        min_rtt: Duration::from_micros(info.tcpi_min_rtt.into()),
        acknowledged_bytes: info.tcpi_bytes_acked,
        unsent_bytes: info.tcpi_notsent_bytes,
        unacknowledged_segments: info.tcpi_unacked,
        selectively_acknowledged_segments: info.tcpi_sacked,
        sent_segments: info.tcpi_data_segs_out,
        retransmitted_segments: info.tcpi_total_retrans,
        lost_in_a_row: info.tcpi_retransmits.into(),
        since_received: Duration::from_millis(info.tcpi_last_data_recv.into()),
        busy: Duration::from_micros(info.tcpi_busy_time),
        window_limited: Duration::from_micros(info.tcpi_rwnd_limited),
    })
}

/// Sets the receive low-water mark (`SO_RCVLOWAT`, socket(7)): the kernel wakes the reader only when `bytes` bytes or
/// the end of the stream have arrived. The initial value of a socket is 1.
pub fn set_receive_low_water(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    low_water(socket, bytes)
}

#[cfg(target_os = "linux")]
fn low_water(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    use std::{mem::size_of, os::fd::AsRawFd as _};

    let bytes = libc::c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the option is an integer that outlives the call, and the borrowed descriptor is open.
    let answer = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast::<libc::c_void>(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn low_water(_socket: &impl AsFd, _bytes: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn ask(_socket: &impl AsFd) -> io::Result<TcpInfo> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads from a socket into the free space of `buffer` without waiting, and returns the number of bytes: 0 at the end,
/// [`io::ErrorKind::WouldBlock`] if there are none. Unlike the runtime's own read, it does not depend on a readiness
/// notification, which never comes below the low-water mark.
pub fn receive_now(socket: &impl AsFd, buffer: &mut impl BufMut) -> io::Result<usize> {
    use std::os::fd::AsRawFd as _;

    let room = buffer.chunk_mut();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes from the pointer on, which is the buffer's free space, and the
    // borrowed descriptor is open.
    let received = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote this many bytes.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream, UdpSocket},
    };

    use super::*;

    #[test]
    fn acknowledged_bytes_are_the_bytes_that_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        let before = tcp_info(&client).expect("is TCP");
        client.write_all(&[7; 10_000]).expect("writes");
        server.read_exact(&mut [0; 10_000]).expect("reads");
        // The reply carries the acknowledgement.
        server.write_all(&[1]).expect("writes");
        client.read_exact(&mut [0]).expect("reads");
        let after = tcp_info(&client).expect("is TCP");
        assert_eq!(after.acknowledged_bytes - before.acknowledged_bytes, 10_000);
        assert!(!after.has_outstanding());
        assert!(after.rtt > Duration::ZERO && after.rtt < Duration::from_secs(1), "{after:?}");
    }

    #[test]
    fn a_peer_that_does_not_read_limits_the_sender_by_its_window() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (_server, _) = listener.accept().expect("accepts");
        client.set_write_timeout(Some(Duration::from_millis(100))).expect("is TCP");
        while client.write_all(&[7; 100_000]).is_ok() {}
        // The counter increases while the peer does not read.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let mut info = tcp_info(&client).expect("is TCP");
        while info.window_limited * 2 < info.busy || info.busy < Duration::from_millis(200) {
            assert!(std::time::Instant::now() < deadline, "{info:?}");
            std::thread::yield_now();
            info = tcp_info(&client).expect("is TCP");
        }
        assert!(info.sent_segments > 0 && info.min_rtt > Duration::ZERO && info.lost_in_a_row == 0, "{info:?}");
    }

    #[test]
    fn bytes_below_the_low_water_mark_can_be_received() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (server, _) = listener.accept().expect("accepts");
        let mut buffer = bytes::BytesMut::with_capacity(8);
        let nothing = receive_now(&server, &mut buffer).expect_err("no bytes are there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        set_receive_low_water(&server, 1_000).expect("is TCP");
        client.write_all(b"0123456789").expect("writes");
        // A byte in the other direction shows that the first ones have arrived.
        (&server).write_all(&[1]).expect("writes");
        client.read_exact(&mut [0]).expect("reads");
        assert_eq!(receive_now(&server, &mut buffer).expect("receives"), 8, "as many as fit");
        assert_eq!(&buffer[..], b"01234567");
        buffer.clear();
        assert_eq!(receive_now(&server, &mut buffer).expect("receives"), 2);
        drop(client);
        buffer.clear();
        let end = (0..).find_map(|_| receive_now(&server, &mut buffer).ok());
        assert_eq!(end, Some(0));
    }

    #[test]
    fn other_sockets_are_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        assert!(tcp_info(&socket).is_err());
    }
}
