//! A real HAProxy in front of HTTP and RTMP, with both versions of the PROXY protocol: which address is seen, and what
//! happens without a header.

use std::{net::SocketAddr, process::Command};

use gostream_testkit::{
    PATIENCE,
    certificate::Certificate,
    encoder::Encoder,
    haproxy::Haproxy,
    process::{free_ports, text},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{everywhere::Running, http::Client, show::Show};

/// HAProxy's address; clients are 127.0.0.1.
const PROXY: &str = "127.0.0.2";
const SETTINGS: [(&str, &str); 2] =
    [("GOSTREAM_PROXY_PROTOCOL_FROM", "127.0.0.2"), ("GOSTREAM_HTTP_TRUSTED_PROXIES", "192.0.2.1")];

async fn from_proxy(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("is made");
    socket.bind(format!("{PROXY}:0").parse().expect("is one")).expect("binds");
    socket.connect(to).await.expect("connects")
}

/// Everything that the server sends until it closes.
async fn answer(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.expect("is sent");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server does not close");
    // A connection may be reset if not all sent data was read.
    assert!(read.is_ok() || answer.is_empty(), "{read:?}");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn client_is_seen_through(version: &str) {
    let show = Show::start(&SETTINGS).await;
    let options = format!("source {PROXY} {version} check");
    let http_check = "option httpchk GET /readyz";
    let servers = [(show.client.address, &*options, http_check), (show.rtmp, &*options, "")];
    let haproxy = Haproxy::start(&servers).await.expect("starts");
    haproxy.until_checked(&["L7OK", "L4OK"]).await.expect("its health checks work");
    let [http, rtmp] = [0, 1].map(|index| SocketAddr::from(([127, 0, 0, 1], haproxy.ports[index])));

    let through = Client { address: http, token: None };
    let login = json!({"email": "one@example.org", "password": "quiet lamp under rain"});
    let token = through.post("/api/auth/login", login).await.json(200)["token"].as_str().map(str::to_owned);
    let through = Client { address: http, token };
    let sessions = through.get("/api/auth/sessions").await.json(200);
    let addresses: Vec<_> = sessions.as_array().expect("a list").iter().map(|session| &session["address"]).collect();
    assert_eq!(addresses, ["127.0.0.1", "127.0.0.1"], "{version}");
    let audit = through.get("/api/auth/audit").await.json(200);
    assert!(!audit.to_string().contains(PROXY) && audit.to_string().contains("127.0.0.1"), "{audit}");

    // An unknown key is shown to users who logged in from the encoder's address.
    let unknown = Encoder::publish(rtmp, "0190b0a0-0000-4000-8000-000000000000").await;
    assert!(unknown.is_err(), "no such key");
    let project = through.get(&format!("/api/projects/{}", show.project)).await.json(200);
    assert_eq!(project["unknownKey"]["address"], "127.0.0.1", "{project}");
    let _encoder = Encoder::publish(rtmp, &show.key).await.expect("is admitted");
    let mut events = through.events(&format!("/api/projects/{}/events", show.project)).await;
    events.until(|project| project["status"] == "live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_seen_through_version_1() {
    client_is_seen_through("send-proxy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_seen_through_version_2() {
    client_is_seen_through("send-proxy-v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_proxies_must_send_a_header_and_others_cannot() {
    let show = Show::start(&SETTINGS).await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 8080\r\n";
    let both = [&header[..], request].concat();
    let http = show.client.address;
    assert_eq!(answer(from_proxy(http).await, request).await, "");
    assert!(answer(from_proxy(http).await, &both).await.starts_with("HTTP/1.1 200"));
    let direct = || async { TcpStream::connect(http).await.expect("connects") };
    assert!(answer(direct().await, request).await.starts_with("HTTP/1.1 200"));
    assert!(answer(direct().await, &both).await.starts_with("HTTP/1.1 400"));

    // The first bytes of an RTMP handshake, and a header on a connection that must not have one.
    let mut hello = vec![3];
    hello.extend([0; 1_536]);
    assert_eq!(answer(from_proxy(show.rtmp).await, &hello).await, "");
    let direct = TcpStream::connect(show.rtmp).await.expect("connects");
    assert_eq!(answer(direct, header).await, "");
}

/// The header is outside TLS, and `gostream health` sends one if the server expects it from this machine.
#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_after_the_header() {
    let folder = TempDir::new().expect("is made");
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let certificate = Certificate::for_names(&["localhost"]).expect("is made");
    std::fs::write(&cert, &certificate.pem).expect("is written");
    std::fs::write(&key, &certificate.key_pem).expect("is written");
    let [http, rtmps] = free_ports().expect("are free").map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let gostream = |from: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gostream"));
        command.args(arguments).current_dir(folder.path());
        command.args(["--tls-cert", text(&cert), "--tls-key", text(&key), "--proxy-protocol-from", from]);
        command.args(["--metrics-listen=off", "--rtmp-listen=127.0.0.1:0"]);
        command.args([format!("--http-listen={http}"), format!("--rtmps-listen={rtmps}")]);
        command
    };
    let both = format!("{PROXY}, 127.0.0.1");
    let mut server = Running::start(&mut gostream(&both, &[]));
    server.banner();

    let check = format!("source {PROXY} send-proxy-v2 check check-ssl verify none");
    let servers = [(http, &*check, "option httpchk GET /readyz"), (rtmps, &*check, "")];
    let haproxy = Haproxy::start(&servers).await.expect("starts");
    haproxy.until_checked(&["L7OK", "L6OK"]).await.expect("TLS begins");

    for (from, code) in [(&*both, Some(0)), (PROXY, Some(1))] {
        let asked = gostream(from, &["health"]).output().expect("starts");
        assert_eq!(asked.status.code(), code, "{from}: {asked:?}");
    }
}
