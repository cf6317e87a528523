//! Large packets that never arrive, while small ones do.

use gostream_tcp::TcpInfo;

/// How often in a row the oldest segment was sent again and never arrived: on a line that loses a tenth, chance does it once in
/// ten thousand times. Before a server is given up there are five.
const LOST_AGAIN_MIN: u32 = 3;
/// What small packets alone can have brought over: the handshake and the commands.
const SMALL_BYTES_MAX: u64 = 32 * 1024;

/// Whether small packets arrive and large ones never do: somewhere on the way is a line with a smaller MTU, and the word that
/// says so does not come back (RFC 2923 section 2.1). The first large packet is sent again and again; what came with it and was
/// smaller is acknowledged, or something before it was.
pub(crate) fn loses_large_packets(info: &TcpInfo) -> bool {
    let lost_again = info.unacknowledged_segments > 0 && info.lost_in_a_row >= LOST_AGAIN_MIN;
    // The count includes the SYN.
    let small_arrive = info.selectively_acknowledged_segments > 0 || info.acknowledged_bytes > 1;
    lost_again && small_arrive && info.acknowledged_bytes <= SMALL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_packets_that_never_arrive_are_no_slow_server() {
        // As the kernel had it five seconds after the first bytes of a handshake, 1537 of them, over a link that drops packets of
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
            ("a server that reads nothing", TcpInfo { lost_in_a_row: 0, ..hole }),
            ("nothing at all arrives", TcpInfo { selectively_acknowledged_segments: 0, ..hole }),
            ("a line that broke in the middle", TcpInfo { acknowledged_bytes: 5_000_000, ..hole }),
            ("all arrived", TcpInfo { unacknowledged_segments: 0, ..hole }),
        ] {
            assert!(!loses_large_packets(&info), "{name}");
        }
    }
}
