//! What the kernel knows of a TCP connection (Linux `TCP_INFO`, tcp(7)): how long the way is, and what is still on it; and when
//! it wakes who reads it.
//!
//! The only crate with `unsafe` in it, and these three calls are why it exists: no maintained crate makes them without bindings
//! generated at build time.

use std::{io, os::fd::AsFd, time::Duration};

use bytes::BufMut;

/// A connection at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The shortest round-trip time of late: without the queues of full lines.
    pub min_rtt: Duration,
    /// Bytes that the other end has acknowledged since the connection began.
    pub acknowledged_bytes: u64,
    /// Bytes in the kernel that were not sent yet, not even once.
    pub unsent_bytes: u32,
    /// Segments that were sent and are not acknowledged yet.
    pub unacknowledged_segments: u32,
    /// Of those, segments that the other end said it has although one before them is missing.
    pub selectively_acknowledged_segments: u32,
    /// Segments with data that were sent since the connection began, those sent again included.
    pub sent_segments: u32,
    /// Segments sent again, ever.
    pub retransmitted_segments: u32,
    /// How often in a row the oldest segment was sent again because nothing was heard of it.
    pub lost_in_a_row: u32,
    /// For how long no data has come.
    pub since_received: Duration,
    /// For how long there was something to send, since the connection began.
    pub busy: Duration,
    /// For how much of it the other end's window was what held it back.
    pub window_limited: Duration,
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

/// Tells the kernel to wake the reader of a socket only once so many bytes are there, or the end is (`SO_RCVLOWAT`, socket(7)).
/// 1 is what sockets begin with.
pub fn set_receive_low_water(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    low_water(socket, bytes)
}

#[cfg(target_os = "linux")]
fn low_water(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    use std::{mem::size_of, os::fd::AsRawFd as _};

    let bytes = libc::c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the option is an integer, which lives over the call, and the borrowed descriptor is open.
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

/// Reads what the kernel has of a socket into the room that `buffer` has, without waiting, and says how much that was: 0 at the
/// end, [`io::ErrorKind::WouldBlock`] when there is nothing. Unlike the runtime's own read it does not ask first whether the
/// socket was announced as readable: below the low-water mark it never is.
pub fn receive_now(socket: &impl AsFd, buffer: &mut impl BufMut) -> io::Result<usize> {
    use std::os::fd::AsRawFd as _;

    let room = buffer.chunk_mut();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes behind the pointer, which is the room that the buffer has, and the borrowed
    // descriptor is open.
    let received = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel filled that much of the room.
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
    fn a_reader_that_does_not_read_holds_the_sender_back_by_its_window() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (_server, _) = listener.accept().expect("accepts");
        client.set_write_timeout(Some(Duration::from_millis(100))).expect("is TCP");
        while client.write_all(&[7; 100_000]).is_ok() {}
        // The time goes on while nothing is read.
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
    fn below_the_low_water_mark_there_is_something_to_receive() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (server, _) = listener.accept().expect("accepts");
        let mut buffer = bytes::BytesMut::with_capacity(8);
        let nothing = receive_now(&server, &mut buffer).expect_err("nothing is there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        set_receive_low_water(&server, 1_000).expect("is TCP");
        client.write_all(b"0123456789").expect("writes");
        // A byte comes back through the other direction once those are there.
        (&server).write_all(&[1]).expect("writes");
        client.read_exact(&mut [0]).expect("reads");
        assert_eq!(receive_now(&server, &mut buffer).expect("receives"), 8, "as much as there is room");
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
