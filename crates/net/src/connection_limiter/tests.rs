use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    waiting: 3,
    waiting_per_address: 2,
    connections: usize::MAX,
    connections_per_address: 3,
    proxies: 2,
};

fn address(text: &str) -> Option<IpAddr> {
    Some(client_prefix(text.parse().expect("is an address")))
}

#[test]
fn permits_are_limited_and_returned() {
    let limiter = ConnectionLimiter::new(LIMITS);
    let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
    let first = limiter.enter(a).expect("is free");
    let second = limiter.enter(a).expect("is free");
    assert!(limiter.enter(a).is_none(), "two wait from one address");
    let _other = limiter.enter(b).expect("another address is free");
    assert!(limiter.enter(b).is_none(), "three wait in all");
    first.admit();
    let third = limiter.enter(a).expect("the admitted one waits no more");
    drop(second);
    assert!(limiter.enter(address("::ffff:192.0.2.1")).is_some(), "two connections are held");
    drop((first, third));
    let state = limiter.state();
    assert_eq!((state.clients.len(), state.holders.len(), state.entries.len()), (1, 1, 1));
}

#[test]
fn newcomer_replaces_the_oldest_idle_connection_of_the_largest_client() {
    let limiter = ConnectionLimiter::new(ConnectionLimits { waiting_per_address: 3, waiting: 4, ..LIMITS });
    let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(address);
    let crowd = [a, a, a, b].map(|client| limiter.connect(client).expect("is free"));
    crowd[0].busy();
    let newcomer = limiter.connect(c).expect("is served");
    let closed: Vec<_> = crowd.iter().map(|permit| permit.evicted().is_cancelled()).collect();
    assert_eq!(closed, [false, true, false, false], "the oldest that is idle, of the one that holds the most");
    assert!(!newcomer.evicted().is_cancelled());
    let own = limiter.connect(a).expect("replaces its own");
    assert!(crowd[2].evicted().is_cancelled() && !crowd[3].evicted().is_cancelled(), "and nobody else's");
    own.busy();
    assert!(limiter.connect(a).is_none(), "all that is its own is busy");
    drop((crowd, newcomer, own));
    let state = limiter.state();
    assert!(state.entries.is_empty() && state.holders.is_empty() && state.all.connections == 0);
}

#[test]
fn permits_that_share_a_token_are_evicted_together() {
    let limiter = ConnectionLimiter::new(ConnectionLimits { connections: 2, waiting: 2, ..LIMITS });
    let connection = CancellationToken::new();
    let requests = [(); 2].map(|()| limiter.connect_with(address("192.0.2.1"), connection.clone()).expect("is free"));
    assert!(!connection.is_cancelled());
    let newcomer = limiter.connect(address("192.0.2.2")).expect("is served");
    assert!(connection.is_cancelled() && !newcomer.evicted().is_cancelled());
    drop(requests);
    assert_eq!(limiter.state().all.connections, 1, "what was evicted leaves once");
}

#[test]
fn idle_connections_make_room_when_all_are_admitted() {
    let limiter = ConnectionLimiter::new(ConnectionLimits { connections: 3, waiting: 3, ..LIMITS });
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(address);
    let held = [a, a, b].map(|client| limiter.connect(client).expect("is free"));
    held.iter().for_each(Permit::admit);
    held[0].busy();
    held[1].busy();
    held[0].idle();
    let newcomer = limiter.connect(address("192.0.2.3")).expect("is served");
    assert!(held[0].evicted().is_cancelled());
    [&newcomer, &held[2]].into_iter().for_each(Permit::busy);
    assert!(limiter.connect(address("192.0.2.4")).is_none(), "all are busy");
}

#[test]
fn trusted_proxies_have_reserved_connections() {
    let limiter = ConnectionLimiter::new(ConnectionLimits { connections: 2, ..LIMITS });
    let _strangers = ["192.0.2.1", "192.0.2.2"].map(|text| limiter.enter(address(text)).expect("is free"));
    let first = limiter.connect(None).expect("is the proxy's own");
    let second = limiter.connect(None).expect("as well");
    second.busy();
    let _third = limiter.connect(None).expect("is served");
    assert!(first.evicted().is_cancelled() && !second.evicted().is_cancelled());
    assert!(limiter.enter(address("192.0.2.3")).is_none());
}

#[test]
fn a_64_bit_prefix_is_one_client() {
    let prefix = |text: &str| client_prefix(text.parse().expect("is an address"));
    assert_eq!(prefix("2001:db8::1"), prefix("2001:db8::ffff:1"));
    assert_ne!(prefix("2001:db8::1"), prefix("2001:db8:0:1::1"));
    assert_eq!(prefix("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
    let limiter = ConnectionLimiter::new(LIMITS);
    let _held = ["2001:db8::1", "2001:db8::2"].map(|text| limiter.enter(address(text)).expect("is free"));
    assert!(limiter.enter(address("2001:db8::3")).is_none(), "two wait from one subscriber");
}

#[test]
fn a_56_bit_prefix_has_a_common_limit() {
    let limiter = ConnectionLimiter::new(ConnectionLimits { waiting: 100, ..LIMITS });
    let held: Vec<_> = (0..10).filter_map(|n| limiter.enter(address(&format!("2001:db8:0:{n:x}::1")))).collect();
    assert_eq!(held.len(), ADDRESSES_PER_GROUP * LIMITS.waiting_per_address);
    assert!(limiter.enter(address("2001:db8:0:100::1")).is_some(), "the next /56 is another's");
}

#[test]
fn limits_fit_the_open_files() {
    let limits = ConnectionLimits { waiting: 64, connections: 100, proxies: 10, ..LIMITS }.at_most(8, 4);
    assert_eq!((limits.waiting, limits.waiting_per_address), (8, 2));
    assert_eq!((limits.connections, limits.connections_per_address, limits.proxies), (8, 3, 4));
}
