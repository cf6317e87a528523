use super::*;

const PLACES: Places =
    Places { waiting: 3, waiting_per_address: 2, connections: usize::MAX, connections_per_address: 3, proxies: 2 };

fn address(text: &str) -> Option<IpAddr> {
    Some(site(text.parse().expect("is an address")))
}

#[test]
fn places_are_limited_and_come_back() {
    let door = Door::new(PLACES);
    let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
    let first = door.enter(a).expect("is free");
    let second = door.enter(a).expect("is free");
    assert!(door.enter(a).is_none(), "two wait from one address");
    let _other = door.enter(b).expect("another address is free");
    assert!(door.enter(b).is_none(), "three wait in all");
    first.admit();
    let third = door.enter(a).expect("the admitted one waits no more");
    drop(second);
    assert!(door.enter(address("::ffff:192.0.2.1")).is_some(), "two connections are held");
    drop((first, third));
    let state = door.state();
    assert_eq!((state.sites.len(), state.holders.len(), state.entries.len()), (1, 1, 1));
}

#[test]
fn a_newcomer_takes_the_oldest_idle_place_of_who_holds_the_most() {
    let door = Door::new(Places { waiting_per_address: 3, waiting: 4, ..PLACES });
    let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(address);
    let crowd = [a, a, a, b].map(|client| door.connect(client).expect("is free"));
    crowd[0].busy();
    let newcomer = door.connect(c).expect("is served");
    let closed: Vec<_> = crowd.iter().map(|place| place.evicted().is_cancelled()).collect();
    assert_eq!(closed, [false, true, false, false], "the oldest that is idle, of the one that holds the most");
    assert!(!newcomer.evicted().is_cancelled());
    let own = door.connect(a).expect("replaces its own");
    assert!(crowd[2].evicted().is_cancelled() && !crowd[3].evicted().is_cancelled(), "and nobody else's");
    own.busy();
    assert!(door.connect(a).is_none(), "all that is its own is busy");
    drop((crowd, newcomer, own));
    let state = door.state();
    assert!(state.entries.is_empty() && state.holders.is_empty() && state.all.connections == 0);
}

#[test]
fn what_ends_together_is_told_together() {
    let door = Door::new(Places { connections: 2, waiting: 2, ..PLACES });
    let connection = CancellationToken::new();
    let requests = [(); 2].map(|()| door.connect_with(address("192.0.2.1"), connection.clone()).expect("is free"));
    assert!(!connection.is_cancelled());
    let newcomer = door.connect(address("192.0.2.2")).expect("is served");
    assert!(connection.is_cancelled() && !newcomer.evicted().is_cancelled());
    drop(requests);
    assert_eq!(door.state().all.connections, 1, "what was evicted leaves once");
}

#[test]
fn those_that_have_asked_make_room_when_all_places_are_taken() {
    let door = Door::new(Places { connections: 3, waiting: 3, ..PLACES });
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(address);
    let held = [a, a, b].map(|client| door.connect(client).expect("is free"));
    held.iter().for_each(Place::admit);
    held[0].busy();
    held[1].busy();
    held[0].idle();
    let newcomer = door.connect(address("192.0.2.3")).expect("is served");
    assert!(held[0].evicted().is_cancelled());
    [&newcomer, &held[2]].into_iter().for_each(Place::busy);
    assert!(door.connect(address("192.0.2.4")).is_none(), "all are busy");
}

#[test]
fn trusted_proxies_have_places_that_nobody_else_can_take() {
    let door = Door::new(Places { connections: 2, ..PLACES });
    let _strangers = ["192.0.2.1", "192.0.2.2"].map(|text| door.enter(address(text)).expect("is free"));
    let first = door.connect(None).expect("is the proxy's own");
    let second = door.connect(None).expect("as well");
    second.busy();
    let _third = door.connect(None).expect("is served");
    assert!(first.evicted().is_cancelled() && !second.evicted().is_cancelled());
    assert!(door.enter(address("192.0.2.3")).is_none());
}

#[test]
fn one_subscriber_is_one_address() {
    let site = |text| address(text).expect("is one");
    assert_eq!(site("2001:db8::1"), site("2001:db8::ffff:1"));
    assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
    assert_eq!(site("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
    let door = Door::new(PLACES);
    let _held = ["2001:db8::1", "2001:db8::2"].map(|text| door.enter(address(text)).expect("is free"));
    assert!(door.enter(address("2001:db8::3")).is_none(), "two wait from one subscriber");
}

#[test]
fn the_sites_of_one_subscriber_of_ipv6_have_a_bound_together() {
    let door = Door::new(Places { waiting: 100, ..PLACES });
    let held: Vec<_> = (0..10).filter_map(|n| door.enter(address(&format!("2001:db8:0:{n:x}::1")))).collect();
    assert_eq!(held.len(), ADDRESSES_PER_GROUP * PLACES.waiting_per_address);
    assert!(door.enter(address("2001:db8:0:100::1")).is_some(), "the next /56 is another's");
}

#[test]
fn places_fit_under_the_files_that_there_are() {
    let places = Places { waiting: 64, connections: 100, proxies: 10, ..PLACES }.at_most(8, 4);
    assert_eq!((places.waiting, places.waiting_per_address), (8, 2));
    assert_eq!((places.connections, places.connections_per_address, places.proxies), (8, 3, 4));
}
