//! How a listener binds.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

pub use super::congestion::prefer_bbr;

/// The kernel's own default; it caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Listens on `address`; an IPv6 wildcard also takes IPv4, whatever the system's default is, and falls back to it where the
/// machine has no IPv6.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_exactly(address) {
        Err(error) if is_unsupported(&error) && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            listen_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
}

/// No IPv6 in the kernel, or switched off (`net.ipv6.conf.all.disable_ipv6`).
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn listen_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted server takes its port back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted has it as well: players, and viewers of HLS, may be far away.
    prefer_bbr(&socket);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wildcard_takes_both_families() {
        let listener = listen("[::]:0".parse().expect("is an address")).expect("binds");
        let port = listener.local_addr().expect("is bound").port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("takes IPv4");
    }
}
