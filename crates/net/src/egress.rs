//! Which addresses relays may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Ports below this one belong to services that speak first or for others: mail, SSH, DNS. Relays reach none of them on public
/// addresses, but for [`WEB_PORTS`].
const PORTS_FREE_FROM: u16 = 1_024;

/// Platforms take RTMP here as well, where firewalls let nothing else out. RTMP's own port, 1935, is free anyway.
const WEB_PORTS: [u16; 2] = [80, 443];

/// Why a relay may not connect to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// It is in a private network, or this server's own.
    Private,
    /// The port is that of another service.
    Port,
}

/// Decides on every address that a relay is about to dial. Public ones are free on the ports of RTMP; everything that belongs
/// to the server's own network needs to be allowed by the operator, or a user could make the server talk to its neighbours.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    allow: Vec<IpNet>,
}

impl Egress {
    /// Public addresses, and those in `allow`.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether a relay may connect there; `own` are this server's addresses. What the operator allows is allowed on every port.
    pub fn judge(&self, to: SocketAddr, own: &[IpAddr]) -> Result<(), Forbidden> {
        let address = to.ip().to_canonical();
        if self.allow.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        if !is_public(address) || own.contains(&reached(address)) {
            return Err(Forbidden::Private);
        }
        if to.port() < PORTS_FREE_FROM && !WEB_PORTS.contains(&to.port()) { Err(Forbidden::Port) } else { Ok(()) }
    }
}

/// The address that a connection to `address` leads to.
fn reached(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether an address is on the public internet (IANA special-purpose registries for IPv4 and IPv6).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol_assignments = a == 192 && b == 0 && c == 0;
    let benchmarking = a == 198 && (b == 18 || b == 19);
    let relay_anycast = a == 192 && b == 88 && c == 99;
    let reserved = a >= 240 || a == 0;
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || shared
        || protocol_assignments
        || benchmarking
        || relay_anycast
        || reserved)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [first, second, ..] = v6.segments();
    let global_unicast = first & 0xE000 == 0x2000;
    let documentation = first == 0x2001 && second == 0x0DB8 || first == 0x3FFF && second < 0x1000;
    // Teredo, ORCHID and the rest of 2001::/23.
    let protocol_assignments = first == 0x2001 && second < 0x0200;
    global_unicast && !documentation && !protocol_assignments
}

/// The IPv4 address that an IPv6 one leads to: mapped, compatible, NAT64 and 6to4.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xFFFF | 0, high, low] => Some(v4(high, low)),
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Egress {
        fn permits(&self, address: IpAddr) -> bool {
            self.judge(SocketAddr::new(address, 1935), &[]).is_ok()
        }
    }

    #[test]
    fn ports_of_other_services_are_forbidden_unless_their_address_is_allowed() {
        let egress = Egress::new(vec!["192.0.2.0/24".parse().expect("is a range")]);
        let judge = |address: &str, port| egress.judge(SocketAddr::new(address.parse().expect("is one"), port), &[]);
        for port in [22, 25, 53, 465, 1023] {
            assert_eq!(judge("1.1.1.1", port), Err(Forbidden::Port), "{port}");
            assert_eq!(judge("10.0.0.1", port), Err(Forbidden::Private), "{port}");
            assert_eq!(judge("192.0.2.1", port), Ok(()), "{port}");
        }
        for port in [80, 443, 1024, 1935, 8080] {
            assert_eq!(judge("1.1.1.1", port), Ok(()), "{port}");
        }
    }

    #[test]
    fn addresses_of_this_server_are_private_unless_they_are_allowed() {
        let own: [IpAddr; 2] = ["1.1.1.1", "2606:4700::1"].map(|text| text.parse().expect("is an address"));
        let judge =
            |egress: &Egress, address: &str| egress.judge(SocketAddr::new(address.parse().expect(address), 1935), &own);
        for address in ["1.1.1.1", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1", "2606:4700::1"] {
            assert_eq!(judge(&Egress::default(), address), Err(Forbidden::Private), "{address}");
        }
        assert_eq!(judge(&Egress::default(), "1.1.1.2"), Ok(()));
        assert_eq!(judge(&Egress::new(vec!["1.1.1.1/32".parse().expect("is a range")]), "1.1.1.1"), Ok(()));
    }

    #[test]
    fn only_public_addresses_are_free() {
        let egress = Egress::default();
        for refused in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "fec0::1",
            "100::1",
        ] {
            assert!(!egress.permits(refused.parse().expect(refused)), "{refused}");
        }
        for allowed in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:8.8.8.8", "2002:808:808::1"] {
            assert!(egress.permits(allowed.parse().expect(allowed)), "{allowed}");
        }
    }

    #[test]
    fn operator_can_allow_ranges() {
        let egress =
            Egress::new(vec!["127.0.0.0/8".parse().expect("is a range"), "fd00::/8".parse().expect("is a range")]);
        for allowed in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::1"] {
            assert!(egress.permits(allowed.parse().expect(allowed)), "{allowed}");
        }
        assert!(!egress.permits("10.0.0.1".parse().expect("is an address")));
    }
}
