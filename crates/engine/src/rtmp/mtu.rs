//! Detects connections on which large packets are lost and small ones arrive.

use gostream_tcp::TcpInfo;

/// Retransmissions of the oldest segment in a row without success. With 10 % packet loss this happens by chance once in
/// ten thousand times. A server is given up after five.
const LOST_AGAIN_MIN: u32 = 3;
/// The most that small packets alone can have carried: the handshake and the commands.
const SMALL_BYTES_MAX: u64 = 32 * 1024;

/// Whether small packets arrive and large ones never do. Then a link on the path has a smaller MTU, and the ICMP
/// message about it does not come back (RFC 2923 section 2.1). The first large packet is retransmitted again and again,
/// while smaller ones sent with it or before it were acknowledged.
pub(crate) fn loses_large_packets(info: &TcpInfo) -> bool {
    let lost_again = info.unacknowledged_segments > 0 && info.lost_in_a_row >= LOST_AGAIN_MIN;
    // `acknowledged_bytes` includes the SYN.
    let small_arrive = info.selectively_acknowledged_segments > 0 || info.acknowledged_bytes > 1;
    lost_again && small_arrive && info.acknowledged_bytes <= SMALL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_large_packets_differ_from_a_slow_server() {
        // The kernel's values five seconds after the first 1537 bytes of a handshake, over a link that drops packets of
        // more than 1280 bytes.
        let hole = TcpInfo {
            unacknowledged_segments: 2,
            selectively_acknowledged_segments: 1,
            lost_in_a_row: 4,
            retransmitted_segments: 5,
            acknowledged_bytes: 1,
            ..TcpInfo::default()
        };
        assert!(loses_large_packets(&hole));
        let after_commands = TcpInfo { selectively_acknowledged_segments: 0, acknowledged_bytes: 3_500, ..hole };
        assert!(loses_large_packets(&after_commands));
        for (name, info) in [
            ("a server that does not read", TcpInfo { lost_in_a_row: 0, ..hole }),
            ("nothing at all arrives", TcpInfo { selectively_acknowledged_segments: 0, ..hole }),
            ("a network that failed later", TcpInfo { acknowledged_bytes: 5_000_000, ..hole }),
            ("all arrived", TcpInfo { unacknowledged_segments: 0, ..hole }),
        ] {
            assert!(!loses_large_packets(&info), "{name}");
        }
    }
}
