//! What the kernel knows about connections: an end that was closed is closed there at once, however late anybody reads it.

/// The state of a connection that both ends hold open, as `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";

/// How many connections to `port` on this machine their clients hold open; 0 where the kernel shows no table.
pub(super) fn held_open_to(port: u16) -> usize {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter(|row| is_held_open(row, port)).count()
}

/// A row: number, local address, remote address, state, ... ; addresses end with the port in hexadecimal digits.
fn is_held_open(row: &str, port: u16) -> bool {
    let mut columns = row.split_whitespace().skip(2);
    let (Some(remote), Some(state)) = (columns.next(), columns.next()) else { return false };
    state == ESTABLISHED
        && remote.rsplit_once(':').is_some_and(|(_, digits)| u16::from_str_radix(digits, 16) == Ok(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_clients_are_told_from_those_of_servers() {
        let client = "  1: 0100007F:BC06 0100007F:8289 01 00000000:00000000";
        assert!(is_held_open(client, 0x8289));
        assert!(!is_held_open(client, 0xBC06), "the server's end");
        assert!(!is_held_open(&client.replace(" 01 ", " 04 "), 0x8289), "closed");
        assert!(!is_held_open("sl local_address", 1));
    }

    #[tokio::test]
    async fn closed_connection_counts_no_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let client = tokio::net::TcpStream::connect(address).await.expect("connects");
        let before = held_open_to(address.port());
        drop(client);
        assert_eq!((before, held_open_to(address.port())), (1, 0));
    }
}
