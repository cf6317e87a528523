//! Connections according to the kernel: a close of the other end is visible here at once, however late it is read.

use std::collections::HashSet;

/// The established state in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Number of connections to `port` on this machine that their clients hold open; 0 if the kernel has no such table.
pub(super) fn held_open_to(port: u16) -> usize {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    count(&tables.concat(), port)
}

/// The kernel writes the table piece by piece while connections change, and may list a connection twice.
fn count(tables: &str, port: u16) -> usize {
    tables.lines().filter_map(|row| client(row, port)).collect::<HashSet<_>>().len()
}

/// The client's address, if the row is the client's end of an open connection to `port`. A row: number, local address,
/// remote address, state, ...; addresses end with the port in hexadecimal.
fn client(row: &str, port: u16) -> Option<&str> {
    let mut columns = row.split_whitespace().skip(1);
    let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
    let (_, digits) = remote.rsplit_once(':')?;
    (state == ESTABLISHED && u16::from_str_radix(digits, 16) == Ok(port)).then_some(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_and_server_rows_are_distinguished() {
        let row = "  1: 0100007F:BC06 0100007F:8289 01 00000000:00000000";
        assert_eq!(count(row, 0x8289), 1);
        assert_eq!(count(row, 0xBC06), 0, "the server's end");
        assert_eq!(count(&row.replace(" 01 ", " 04 "), 0x8289), 0, "closed");
        assert_eq!(count("  sl  local_address rem_address   st", 1), 0);
        let another = row.replace("BC06", "BC07");
        assert_eq!(count(&[row, &another, row].join("\n"), 0x8289), 2, "a duplicate counts once");
    }

    #[tokio::test]
    async fn closed_connection_is_not_counted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let client = tokio::net::TcpStream::connect(address).await.expect("connects");
        let before = held_open_to(address.port());
        drop(client);
        assert_eq!((before, held_open_to(address.port())), (1, 0));
    }
}
