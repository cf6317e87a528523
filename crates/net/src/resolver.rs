//! How names become addresses: as the system does it, from `/etc/hosts` and the name servers of `/etc/resolv.conf`, but
//! without a thread for each name. A lookup shares nothing with another, so that one that gets no answer holds up no other, and
//! it ends when its future is dropped. How many run at once is for [`crate::rtmp::dial::Dialer`] to say.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy},
    net::runtime::TokioRuntimeProvider,
    proto::rr::Name,
    system_conf::parse_resolv_conf,
};

use super::resolve::{BoxFuture, Resolve};

/// Options of `resolv.conf` that a lookup follows; the parser would log a warning about those that it does not know.
const OPTIONS: [&str; 4] = ["ndots:", "timeout:", "attempts:", "edns0"];

/// Asks as the system does (resolv.conf(5), hosts(5)). Both files are read for each lookup, so changes count at once. Other
/// sources that `nsswitch.conf` may name, such as mDNS, are not asked.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// Of the name servers; the file cannot say it.
    port: Option<u16>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: None }
    }
}

impl SystemResolver {
    /// Reads these files instead of the system's, and asks the name servers on this port.
    pub fn with_files(hosts: &Path, resolv_conf: &Path, port: u16) -> Self {
        Self { hosts: hosts.to_owned(), resolv_conf: resolv_conf.to_owned(), port: Some(port) }
    }

    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = numeric(host)? {
            return Ok(vec![address.into()]);
        }
        let listed = in_hosts(&fs::read_to_string(&self.hosts).unwrap_or_default(), host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if let Err(error) = Name::from_utf8(host) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let found = self.name_servers()?.lookup_ip(host).await.map_err(|error| {
            // Both that the name does not exist (NXDOMAIN) and that it has no address. Refused and failed lookups are others.
            let kind = if error.is_no_records_found() { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
            io::Error::new(kind, error)
        })?;
        Ok(found.iter().collect())
    }

    fn name_servers(&self) -> io::Result<TokioResolver> {
        let text = fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        // Without a name server in the file there is one on this machine (resolv.conf(5)).
        let (mut config, mut options) = parse_resolv_conf(known_lines(&text)).unwrap_or_else(|_| {
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
        });
        if let Some(port) = self.port {
            let (domain, search, mut servers) = config.into_parts();
            servers.iter_mut().flat_map(|server| &mut server.connections).for_each(|to| to.port = port);
            config = ResolverConfig::from_parts(domain, search, servers);
        }
        // Names are resolved for each connection, and `hosts` was read above.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build().map_err(io::Error::other)
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let found = self.addresses(host).await?;
            Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
        })
    }
}

/// The address that `inet_aton` reads in a host: `127.1`, `2130706433`, `017700000001` and `0x7f.1` are all 127.0.0.1. `None`
/// for a name. What ends in a number is no name, so it is an address or an error.
fn numeric(host: &str) -> io::Result<Option<Ipv4Addr>> {
    let parts: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    if !parts.last().is_some_and(|last| is_number(last)) {
        return Ok(None);
    }
    let values: Option<Vec<u32>> = parts.iter().map(|part| part_value(part)).collect();
    let address = values.and_then(|values| {
        let (&last, first) = values.split_last()?;
        let shift = 32_u32.checked_sub(8 * first.len() as u32).filter(|&bits| bits > 0)?;
        let fits = u64::from(last) < 1_u64 << shift && first.iter().all(|&value| value < 256);
        let high = first.iter().zip([24, 16, 8]).map(|(value, bits)| value << bits).sum::<u32>();
        fits.then(|| Ipv4Addr::from(high | last))
    });
    address.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an IPv4 address"))
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A part of an IPv4 address: decimal, octal with `0` in front, or hexadecimal with `0x`.
fn part_value(part: &str) -> Option<u32> {
    let (digits, radix) = match part.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (part.get(2..)?, 16),
        [b'0', _, ..] => (part.get(1..)?, 8),
        _ => (part, 10),
    };
    // `from_str_radix` takes a sign as well.
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

/// The addresses of a host in the text of `/etc/hosts`.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let lines = text.lines().filter_map(|line| line.split('#').next());
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    lines.filter_map(of_line).collect()
}

/// `resolv.conf` without what the parser would complain about at each lookup.
fn known_lines(text: &str) -> String {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        match words.next()? {
            "nameserver" | "search" | "domain" => Some(line.trim().to_owned()),
            "options" => {
                let known: Vec<_> = words.filter(|word| OPTIONS.iter().any(|known| word.starts_with(known))).collect();
                (!known.is_empty()).then(|| format!("options {}", known.join(" ")))
            }
            _ => None,
        }
    };
    text.lines().filter_map(line).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests;
