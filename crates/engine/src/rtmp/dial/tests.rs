use tokio::net::TcpListener;

use super::{super::steps::Steps, *};

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| SocketAddr::new(text.parse().expect("is an address"), 1)).collect()
}

fn dialer() -> Dialer {
    let loopback = "127.0.0.0/8".parse().expect("is a range");
    let resolver = Arc::new(gostream_net::SystemResolver::default());
    Dialer::new(resolver, Egress::new(vec![loopback]), OwnAddresses::default(), Some(vec![]))
}

fn url(text: &str) -> RtmpUrl {
    RtmpUrl::parse(text).expect("is a URL")
}

#[test]
fn families_take_turns() {
    let mixed = addresses(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"]);
    let expected = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
    assert_eq!(interleave(mixed), expected);
}

#[tokio::test]
async fn dead_address_does_not_stop_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let good = listener.local_addr().expect("is bound");
    // Nothing listens on the same port of 127.0.0.2.
    let dead = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), good.port());
    let stream = connect_any(vec![dead, good], &url("rtmp://h/live")).await.expect("connects");
    assert_eq!(stream.peer_addr().expect("is connected"), good);
}

/// A listener with a full queue: the kernel drops new connections without an answer.
async fn black_hole() -> (SocketAddr, TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().expect("is made");
    socket.bind("127.0.0.1:0".parse().expect("is an address")).expect("binds");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("is bound");
    while timeout(ATTEMPT_DELAY, TcpStream::connect(address)).await.is_ok() {}
    (address, listener)
}

#[tokio::test]
async fn silent_address_only_delays_the_next_by_its_head_start() {
    let (silent, _full) = black_hole().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let good = listener.local_addr().expect("is bound");
    let began = tokio::time::Instant::now();
    let stream = connect_any(vec![silent, good], &url("rtmp://h/live")).await.expect("connects");
    let took = began.elapsed();
    assert_eq!(stream.peer_addr().expect("is connected"), good);
    assert!(took >= ATTEMPT_DELAY && took < CONNECT / 2, "took {took:?}");
}

#[tokio::test]
async fn failures_have_codes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    drop(listener);
    for (target, code) in [
        (format!("rtmp://127.0.0.1:{port}/live"), "connection_refused"),
        ("rtmp://10.0.0.1/live".to_owned(), "address_forbidden"),
        ("rtmp://[::ffff:169.254.169.254]/live".to_owned(), "address_forbidden"),
        ("rtmp://no-such-host.invalid/live".to_owned(), "dns"),
    ] {
        let failure = dialer().connect(&url(&target), &mut Steps::new()).await.expect_err("cannot connect");
        assert_eq!(failure.code(), code, "{target}");
    }
}

/// A resolver that fails in one way; `None` never answers.
#[derive(Debug)]
struct Fails(Option<io::ErrorKind>);

impl Resolve for Fails {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> gostream_net::BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async {
            match self.0 {
                Some(kind) => Err(kind.into()),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn name_service_outage_is_not_reported_as_a_typing_mistake() {
    for (fails, code, words) in [
        (Some(io::ErrorKind::NotFound), "dns", "typing mistake"),
        (Some(io::ErrorKind::InvalidInput), "dns", "typing mistake"),
        (Some(io::ErrorKind::Other), "no_name_server", "The name server of this machine does not answer"),
        (None, "no_name_server", "The name server of this machine does not answer"),
    ] {
        let dialer = Dialer::new(Arc::new(Fails(fails)), Egress::default(), OwnAddresses::default(), Some(vec![]));
        let failure = dialer
            .connect(&url("rtmp://live.example/app"), &mut Steps::new())
            .await
            .expect_err("cannot connect");
        let sentence = failure.to_string();
        assert_eq!(failure.code(), code, "{fails:?}");
        assert!(sentence.contains(words) && sentence.contains("live.example"), "{sentence}");
        assert_eq!(sentence.contains("typing mistake"), code == "dns", "{sentence}");
    }
}

#[tokio::test]
async fn plain_server_behind_rtmps_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        tokio::io::AsyncWriteExt::write_all(&mut stream, &[3; 100]).await.expect("writes");
        stream
    });
    let failure = dialer()
        .connect(&url(&format!("rtmps://127.0.0.1:{port}/live")), &mut Steps::new())
        .await
        .expect_err("no TLS");
    assert_eq!(failure.code(), "tls");
    server.abort();
}

/// A resolver with public addresses, which the test never connects to.
#[derive(Debug)]
struct Names;

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> gostream_net::BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let address = match host {
            "stream.example" | "alias.example" => [1, 1, 1, 1],
            "router.example" => [1, 1, 1, 2],
            _ => [1, 1, 1, 3],
        };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    }
}

#[tokio::test]
async fn relays_cannot_reach_this_server_by_any_name() {
    let (host, follow) = OwnAddresses::of_host("stream.example".to_owned(), Arc::new(Names));
    let follow = tokio::spawn(follow);
    let interfaces = OwnAddresses::with_interfaces(|| vec![IpAddr::from([1, 1, 1, 2])]);
    let judge = async |own: &OwnAddresses, allow: &str, name: &str| {
        let allow = vec![allow.parse().expect("is a range")];
        let dialer = Dialer::new(Arc::new(Names), Egress::new(allow), own.clone(), Some(vec![]));
        dialer.resolve(&url(name)).await.map_err(|failure| failure.code())
    };
    for name in ["rtmp://stream.example/live", "rtmp://alias.example/live", "rtmp://1.1.1.1/live"] {
        assert_eq!(judge(&host, "10.0.0.0/8", name).await, Err("address_forbidden"), "{name}");
        assert!(judge(&host, "1.1.1.1/32", name).await.is_ok(), "{name} is allowed");
        assert!(judge(&interfaces, "10.0.0.0/8", name).await.is_ok(), "{name} is another server's");
    }
    assert_eq!(judge(&interfaces, "10.0.0.0/8", "rtmp://router.example/live").await, Err("address_forbidden"));
    assert!(judge(&host, "10.0.0.0/8", "rtmp://third.example/live").await.is_ok());
    assert_eq!(judge(&host, "10.0.0.0/8", "rtmp://third.example:25/live").await, Err("port_forbidden"));
    assert!(judge(&host, "1.1.1.0/24", "rtmp://third.example:25/live").await.is_ok());
    follow.abort();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_use_bbr_where_the_kernel_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let stream = connect_any(vec![address], &url("rtmp://h/live")).await.expect("connects");
    assert_eq!(gostream_net::congestion::of(&stream), gostream_net::congestion_control());
}
