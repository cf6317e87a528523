//! The addresses of this server itself: those of its interfaces, and of the host that its users know it by. A user must not
//! reach through a relay what a firewall keeps from the network.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::resolve::Resolve;

/// How often the addresses of the server's own name are looked up again.
const REFRESH: Duration = Duration::from_secs(60);
/// How long that may take; relays wait for the first time only.
const RESOLVE: Duration = Duration::from_secs(5);

/// What this server may be reached at.
#[derive(Clone, Debug)]
pub struct OwnAddresses {
    interfaces: fn() -> Vec<IpAddr>,
    /// `None` until the first lookup ended.
    host: watch::Receiver<Option<Vec<IpAddr>>>,
}

impl Default for OwnAddresses {
    fn default() -> Self {
        let (_, host) = watch::channel(Some(Vec::new()));
        Self { interfaces, host }
    }
}

impl OwnAddresses {
    /// Those of the interfaces and of `host`, and the task that keeps them current.
    pub fn of_host(host: String, resolver: Arc<dyn Resolve>) -> (Self, impl Future<Output = ()> + Send) {
        let (known, seen) = watch::channel(None);
        (Self { interfaces, host: seen }, follow(host, resolver, known))
    }

    /// The addresses that `interfaces` returns, instead of this machine's: for tests, and where a server's addresses are not those of
    /// its interfaces.
    pub fn with_interfaces(interfaces: fn() -> Vec<IpAddr>) -> Self {
        Self { interfaces, ..Self::default() }
    }

    /// All of them at the moment.
    pub async fn list(&self) -> Vec<IpAddr> {
        let mut host = self.host.clone();
        // An error means that nobody looks any more: the server is stopping.
        let of_host = host.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        let mut own = (self.interfaces)();
        own.extend(of_host.into_iter().flatten());
        own
    }
}

async fn follow(host: String, resolver: Arc<dyn Resolve>, known: watch::Sender<Option<Vec<IpAddr>>>) {
    loop {
        let found = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => Some(vec![address]),
            Err(_) => match timeout(RESOLVE, resolver.resolve(&host, 0)).await {
                Ok(Ok(found)) => Some(found.into_iter().map(|found| found.ip().to_canonical()).collect()),
                _ => None,
            },
        };
        // While the name servers are away, the previous addresses count.
        let found = found.or_else(|| known.borrow().clone()).unwrap_or_default();
        known.send_replace(Some(found));
        sleep(REFRESH).await;
    }
}

/// Asked for each connection, since they change: a lease, a temporary IPv6 address.
fn interfaces() -> Vec<IpAddr> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()).to_canonical()))
    };
    found.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_of_this_machine_are_found() {
        assert!(interfaces().contains(&IpAddr::from([127, 0, 0, 1])), "{:?}", interfaces());
    }
}
