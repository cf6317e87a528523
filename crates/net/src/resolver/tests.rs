use std::time::Duration;

use proptest::prelude::*;
use tokio::{net::UdpSocket, time::timeout};

use super::*;

#[test]
fn forms_that_inet_aton_reads_are_addresses() {
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("1.2.772", "1.2.3.4"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
    ] {
        assert_eq!(numeric(host).expect(host), Some(address.parse().expect(address)), "{host}");
    }
    for host in ["a.1", "256.1.1.1", "1.16777216", "1.2.3.256", "08", "0x", "1.2.3.4.5", "4294967296", "1..2"] {
        assert!(numeric(host).is_err(), "{host} is no name");
    }
    for host in ["a.example", "1.example", "0x7g", "", ".", "x1", "1a"] {
        assert_eq!(numeric(host).expect(host), None, "{host}");
    }
}

proptest! {
    #[test]
    fn every_spelling_of_an_address_is_that_address(bits: u32) {
        let address = Ipv4Addr::from(bits);
        let [a, b, c, d] = address.octets();
        let spellings = [
            address.to_string(), format!("{bits}"), format!("0{bits:o}"), format!("{bits:#x}"),
            format!("{a}.{}", bits & 0xFF_FFFF), format!("{a:#X}.0{b:o}.{}", bits & 0xFFFF), format!("0{a:o}.{b}.{c:#x}.{d}"),
        ];
        for spelling in spellings {
            prop_assert_eq!(numeric(&spelling).expect("is numeric"), Some(address), "{}", spelling);
        }
    }

    #[test]
    fn any_host_is_read_or_refused(host in "[0-9a-fx.+-]{0,20}") {
        let _answer = numeric(&host);
    }
}

/// Files of a system of its own, which go when it does.
struct System {
    folder: PathBuf,
    resolver: SystemResolver,
}

impl System {
    fn new(hosts: &str, resolv_conf: &str, port: u16) -> Self {
        let folder = std::env::temp_dir().join(format!("gostream-resolver-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("is made");
        let files = [folder.join("hosts"), folder.join("resolv.conf")];
        fs::write(&files[0], hosts).expect("is written");
        fs::write(&files[1], resolv_conf).expect("is written");
        let resolver = SystemResolver::with_files(&files[0], &files[1], port);
        Self { folder, resolver }
    }

    async fn addresses(&self, host: &str) -> Vec<String> {
        let found = self.resolver.resolve(host, 1935).await.expect(host);
        found.iter().map(ToString::to_string).collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn hosts_come_first_and_a_change_counts_at_once() {
    // The name server of the last line is never asked: nobody reads this socket.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let port = silent.local_addr().expect("is bound").port();
    let hosts = "192.0.2.1 studio Studio.example # ours\n#192.0.2.9 studio\n2001:db8::1\tstudio\n";
    let system = System::new(hosts, "nameserver 127.0.0.1\n", port);
    assert_eq!(system.addresses("studio").await, ["192.0.2.1:1935", "[2001:db8::1]:1935"]);
    assert_eq!(system.addresses("STUDIO.EXAMPLE.").await, ["192.0.2.1:1935"]);
    assert_eq!(system.addresses("0x7f.1").await, ["127.0.0.1:1935"]);
    fs::write(system.folder.join("hosts"), "192.0.2.2 studio\n").expect("is written");
    assert_eq!(system.addresses("studio").await, ["192.0.2.2:1935"]);
    assert!(silent.try_recv(&mut [0; 512]).is_err(), "no name server heard of it");
}

/// A name server that knows `known.example.` (192.0.2.7) and nothing else, does not answer for `silent` names, and cannot, or will
/// not, for those that begin with `failed` and `refused`.
async fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let port = socket.local_addr().expect("is bound").port();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let question = &query[12..length];
            let end = question.iter().position(|byte| *byte == 0).expect("a name ends") + 5;
            let question = &question[..end];
            if question.windows(6).any(|part| part == b"silent") {
                continue;
            }
            // RFC 1035 section 4.1: an answer with the question, and an A record that points back to its name.
            let is_known = question.starts_with(b"\x05known\x07example\0\0\x01");
            let mut answer = query[..2].to_vec();
            // Section 4.1.1: SERVFAIL is 2, NXDOMAIN 3, REFUSED 5.
            let code = match question {
                _ if is_known => 0,
                [6, b'f', b'a', b'i', ..] => 2,
                [7, b'r', b'e', b'f', ..] => 5,
                _ => 3,
            };
            answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(is_known), 0, 0, 0, 0]);
            answer.extend(question);
            if is_known {
                answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
            }
            socket.send_to(&answer, from).await.expect("is sent");
        }
    });
    port
}

#[tokio::test]
async fn the_name_servers_of_the_system_are_asked_and_its_search_list_followed() {
    let port = name_server().await;
    let conf = "# ours\nnameserver 127.0.0.1\nsearch example\noptions ndots:1 trust-ad timeout:1\n";
    let system = System::new("", conf, port);
    assert_eq!(system.addresses("known.example").await, ["192.0.2.7:1935"]);
    assert_eq!(system.addresses("known").await, ["192.0.2.7:1935"]);
    assert!(system.resolver.resolve("unknown.example", 1935).await.is_err());
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_from_a_name_server_that_cannot_say() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("is bound").port();
    let conf = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
    let (working, dead) = (System::new("", conf, name_server().await), System::new("", conf, closed));
    for (system, host, says) in [
        (&working, "unknown.example", Some(io::ErrorKind::NotFound)),
        (&working, "failed.example", None),
        (&working, "refused.example", None),
        (&working, "silent.example", None),
        (&working, "a..example", Some(io::ErrorKind::InvalidInput)),
        (&working, &"a".repeat(64), Some(io::ErrorKind::InvalidInput)),
        (&dead, "known.example", None),
    ] {
        let error = system.resolver.resolve(host, 1).await.expect_err(host);
        let kind =
            Some(error.kind()).filter(|kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::InvalidInput));
        assert_eq!(kind, says, "{host}: {error}");
    }
}

#[test]
fn names_without_an_answer_take_no_thread_from_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.expect("starts");
    runtime.block_on(async {
        let port = name_server().await;
        let system = System::new("", "nameserver 127.0.0.1\noptions timeout:30\n", port);
        let mut silent = tokio::task::JoinSet::new();
        for n in 0..200 {
            let resolver = system.resolver.clone();
            silent.spawn(async move { resolver.resolve(&format!("silent{n}.example"), 1).await });
        }
        let others = async {
            assert_eq!(system.addresses("known.example").await, ["192.0.2.7:1935"]);
            tokio::task::spawn_blocking(|| 7).await.expect("has the only thread")
        };
        assert_eq!(timeout(Duration::from_secs(5), others).await, Ok(7));
        assert!(silent.try_join_next().is_none(), "none of them was answered");
        // Hanging up ends them.
        silent.shutdown().await;
    });
}
