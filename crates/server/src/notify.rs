//! Notifies a service manager when the server is ready and when it stops (`sd_notify(3)`, `Type=notify`).
//!
//! Sends one datagram to the socket in `NOTIFY_SOCKET`. systemd sets this variable; it is not a setting of the server.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The server accepts requests and streams.
pub const READY: &str = "READY=1";
/// The server is stopping.
pub const STOPPING: &str = "STOPPING=1";

/// Notifies the service manager, if there is one. A failure is logged.
pub fn send_state(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "The service manager could not be notified: {state}.");
    }
}

/// A name that begins with `@` is an abstract socket of Linux, which is not a file.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_notified() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("notify");
        let name = format!("gostream-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("an address");
        for (socket, address) in [
            (UnixDatagram::bind(&path).expect("bound"), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).expect("bound"), format!("@{name}").into()),
        ] {
            send(&address, READY).expect("sent");
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).expect("received");
            assert_eq!(&bytes[..length], b"READY=1");
        }
        assert!(send(folder.path().join("nobody").as_os_str(), READY).is_err());
    }
}
