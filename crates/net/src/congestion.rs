//! Congestion control decides how fast the kernel sends. Linux's default (`cubic`) slows down at every lost packet, as if the line were
//! full, so that long lossy paths carry a fraction of a stream. `bbr` measures what the path carries.

use std::io;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What media sockets ask for. Unprivileged programs may use it where the kernel has it and
/// `net.ipv4.tcp_allowed_congestion_control` lists it.
const WANTED: &str = "bbr";

/// Asks for `bbr` on a socket that sends media, or on the listener of such sockets, which inherit it. A kernel without `bbr` keeps its
/// default, which costs speed on bad lines.
pub fn prefer_bbr<'a>(socket: impl Into<SockRef<'a>>) {
    let _ = ask(&socket.into());
}

/// The congestion control of a new media socket; `None` if the system does not report it.
pub fn congestion_control() -> Option<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
    prefer_bbr(&socket);
    of(&socket)
}

/// The congestion control of a connection; `None` if the system does not report it.
pub fn of<'a>(socket: impl Into<SockRef<'a>>) -> Option<String> {
    name_of(&socket.into()).ok()
}

/// Whether a connection uses `bbr`.
pub fn has_bbr<'a>(socket: impl Into<SockRef<'a>>) -> bool {
    of(socket).is_some_and(|name| name == WANTED)
}

#[cfg(target_os = "linux")]
fn ask(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_congestion(WANTED.as_bytes())
}

#[cfg(target_os = "linux")]
fn name_of(socket: &SockRef<'_>) -> io::Result<String> {
    let name = socket.tcp_congestion()?;
    // The kernel fills the rest of the room with zeros.
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

#[cfg(not(target_os = "linux"))]
fn ask(_socket: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn name_of(_socket: &SockRef<'_>) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// What this kernel must give a media socket: `bbr` if it may be had, otherwise its default.
    fn expected() -> String {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("is Linux");
        let allowed = read("tcp_allowed_congestion_control");
        if allowed.split_whitespace().any(|name| name == WANTED) {
            return WANTED.to_owned();
        }
        read("tcp_congestion_control").trim().to_owned()
    }

    #[test]
    fn bbr_is_used_where_the_kernel_has_it() {
        assert_eq!(congestion_control(), Some(expected()));
        // Whatever the default is.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("is made");
        socket.set_tcp_congestion(b"reno").expect("every kernel has it");
        prefer_bbr(&socket);
        assert_eq!(of(&socket).as_deref(), Some(if expected() == WANTED { WANTED } else { "reno" }));
    }

    #[test]
    fn connections_inherit_it_from_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        prefer_bbr(&listener);
        let _client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
        let (accepted, _) = listener.accept().expect("accepts");
        assert_eq!(of(&accepted), Some(expected()));
    }

    #[test]
    fn other_sockets_are_left_alone() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        prefer_bbr(&socket);
        assert!(name_of(&SockRef::from(&socket)).is_err());
    }
}
