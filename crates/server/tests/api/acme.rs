//! Certificates by ACME: the real program and a real ACME server, which validates on the HTTPS port.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use gostream_testkit::{
    PATIENCE,
    certificate::Certificate,
    encoder::Encoder,
    pebble::{BLOCKED, Pebble},
    process::free_ports,
    script::Script,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    app::{PASSWORD, text},
    http::Client,
};

const DOMAIN: &str = "stream.example";
const OBTAINED: &str = "A new certificate is in use";
/// Longer than any test.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A server with ACME, and its output.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
    https: u16,
    rtmps: u16,
    metrics: u16,
}

impl Server {
    /// Starts it on these ports for HTTPS, RTMPS and metrics.
    fn start(data: &TempDir, pebble: &Pebble, ports: [u16; 3], domains: &str) -> Self {
        Self::trusting(&pebble.ca(), data, pebble, ports, domains)
    }

    /// The same with another root for the authority's HTTPS.
    fn trusting(ca: &str, data: &TempDir, pebble: &Pebble, ports: [u16; 3], domains: &str) -> Self {
        let [https, rtmps, metrics] = ports;
        let mut child = Command::new(env!("CARGO_BIN_EXE_gostream"))
            .current_dir(data.path())
            .env_clear()
            .args([
                "--data-dir=data",
                "--log-level=trace",
                "--rtmp-listen=127.0.0.1:0",
                "--acme-email=me@stream.example",
                &format!("--http-listen=127.0.0.1:{https}"),
                &format!("--rtmps-listen=127.0.0.1:{rtmps}"),
                &format!("--metrics-listen=127.0.0.1:{metrics}"),
                &format!("--acme-domains={domains}"),
                &format!("--acme-directory={}", pebble.directory()),
                &format!("--acme-ca={ca}"),
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = mpsc::sync_channel(1_000_000);
        std::thread::spawn(move || {
            // Ends with the server, or with the test.
            stderr.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok());
        });
        Self { child, lines, said: String::new(), https, rtmps, metrics }
    }

    /// Reads until a line contains `part`, and returns the line.
    fn until(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{part} was never printed:\n{}", self.said);
            };
            self.said += &format!("{line}\n");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Runs `gostream health` with the same settings.
    fn is_healthy(&self, data: &TempDir) -> bool {
        let status = Command::new(env!("CARGO_BIN_EXE_gostream"))
            .current_dir(data.path())
            .env_clear()
            .args(["health", "--data-dir=data", &format!("--acme-domains={DOMAIN}")])
            .arg(format!("--http-listen=127.0.0.1:{}", self.https))
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }

    /// Stops it and returns its whole output.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.said.extend(self.lines.iter().map(|line| line + "\n"));
        std::mem::take(&mut self.said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects as a client that trusts `roots`.
async fn connect(port: u16, name: &'static str, roots: &RootCertStore) -> Option<TlsStream<TcpStream>> {
    let config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap().ok()
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// The certificate that a client gets that trusts `roots`.
async fn seen(port: u16, roots: &RootCertStore) -> Option<CertificateDer<'static>> {
    connect(port, DOMAIN, roots).await.map(|stream| leaf(&stream))
}

/// A plain-text address for clients without TLS: connections are forwarded to the port.
async fn tunnel(port: u16, roots: &RootCertStore) -> SocketAddr {
    let (listener, roots) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), roots.clone());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let mut tls = connect(port, DOMAIN, &roots).await.expect("a certificate that is to be trusted");
            tokio::spawn(async move { copy_bidirectional(&mut plain, &mut tls).await });
        }
    });
    address
}

/// A request on a persistent connection.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: stream.example\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        assert_ne!(
            timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap(),
            0,
            "the connection was closed"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_once_used_everywhere_and_kept_if_another_is_refused() {
    let data = TempDir::new().unwrap();
    let ports: [u16; 3] = free_ports().unwrap();
    let pebble = Pebble::start(ports[0], DAY).await.unwrap();
    let roots = pebble.roots().await.unwrap();
    let mut server = Server::start(&data, &pebble, ports, &format!("{DOMAIN},second.stream.example"));
    server.until(OBTAINED);
    let first = seen(server.https, &roots).await.expect("HTTPS uses the issued certificate");
    assert_eq!(seen(server.rtmps, &roots).await.as_ref(), Some(&first), "and so does RTMPS");
    assert!(connect(server.https, "second.stream.example", &roots).await.is_some(), "one certificate for both names");
    assert!(server.is_healthy(&data));
    let said = server.stop();

    let folder = data.path().join("data/acme");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let account: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("account.json")).unwrap()).unwrap();
    let key = account["credentials"]["key_pkcs8"].as_str().unwrap();
    let pem = fs::read_to_string(folder.join("certificate.pem")).unwrap();
    for secret in [key, pem.lines().nth(2).unwrap(), "PRIVATE KEY"] {
        assert!(!said.contains(secret), "a key was logged");
    }

    let mut server = Server::start(&data, &pebble, ports, DOMAIN);
    server.until("GoStream");
    assert_eq!(seen(server.https, &roots).await.as_ref(), Some(&first), "a restart uses the stored certificate");
    assert!(!server.stop().contains("Requesting a certificate"));

    let mut server = Server::start(&data, &pebble, ports, &format!("{DOMAIN},{BLOCKED}"));
    let line = server.until("No new certificate");
    assert!(line.contains("check acme.domains") && line.contains("the current one stays"), "{line}");
    for port in [server.https, server.rtmps] {
        assert_eq!(seen(port, &roots).await.as_ref(), Some(&first));
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_authority_gets_a_new_account() {
    let data = TempDir::new().unwrap();
    let ports: [u16; 3] = free_ports().unwrap();
    let before = Pebble::start(ports[0], DAY).await.unwrap();
    let mut server = Server::start(&data, &before, ports, DOMAIN);
    server.until(OBTAINED);
    server.stop();
    // As if the same authority had lost its accounts.
    let after = Pebble::start(ports[0], DAY).await.unwrap();
    let file = data.path().join("data/acme/account.json");
    let host = |pebble: &Pebble| pebble.directory().trim_end_matches("dir").to_owned();
    let account = fs::read_to_string(&file).unwrap().replace(&host(&before), &host(&after));
    fs::write(&file, &account).unwrap();
    let mut server = Server::start(&data, &after, ports, DOMAIN);
    server.until(OBTAINED);
    assert!(seen(server.https, &after.roots().await.unwrap()).await.is_some());
    server.stop();
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept != account && kept.contains(&after.directory()), "another account is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_without_dropping_a_connection() {
    let data = TempDir::new().unwrap();
    let ports: [u16; 3] = free_ports().unwrap();
    let pebble = Pebble::start(ports[0], Duration::from_secs(9)).await.unwrap();
    let roots = pebble.roots().await.unwrap();
    let mut server = Server::start(&data, &pebble, ports, DOMAIN);
    server.until(OBTAINED);
    let mut open = connect(server.https, DOMAIN, &roots).await.unwrap();
    ask(&mut open).await;
    let visitor = Client { address: tunnel(server.https, &roots).await, token: None };
    let me = json!({"email": "me@example.org", "password": PASSWORD});
    let session = visitor.post("/api/auth/signup", me).await.json(201);
    let me = Client { token: session["token"].as_str().map(str::to_owned), ..visitor };
    let project = me.post("/api/projects", json!({"name": "Sunday service"})).await.json(201);
    let path = format!("/api/projects/{}", text(&project["id"]));
    let mut events = me.events(&format!("{path}/events")).await;
    let mut encoder = Encoder::publish(tunnel(server.rtmps, &roots).await, text(&project["streamKey"])).await.unwrap();
    encoder.send_all(&Script::default().headers()).await.unwrap();
    events.until(|project| project["status"] == "live").await;

    server.until(OBTAINED);
    let renewed = seen(server.https, &roots).await.expect("a valid certificate");
    assert_ne!(renewed, leaf(&open));
    ask(&mut open).await;
    encoder.send_all(&Script::default().frames()).await.unwrap();
    encoder.stop().await.unwrap();
    events.until(|project| project["status"] == "offline").await;
    let streams = me.get(&format!("{path}/streams")).await.json(200);
    assert_eq!(streams["items"].as_array().map(Vec::len), Some(1), "the stream was not interrupted: {streams}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_everything_else_works_and_the_log_has_advice() {
    let data = TempDir::new().unwrap();
    let [elsewhere, ports @ ..]: [u16; 4] = free_ports().unwrap();
    // Nothing listens on the port that is validated.
    let pebble = Pebble::start(elsewhere, DAY).await.unwrap();
    let roots = pebble.roots().await.unwrap();
    let mut server = Server::start(&data, &pebble, ports, DOMAIN);
    let rtmp = server.until("RTMP server   rtmp://");
    let line = server.until("There is no valid certificate for stream.example");
    assert!(line.contains("Port 443 of the name must lead to http.listen") && line.contains("next attempt"), "{line}");
    assert!(seen(server.https, &roots).await.is_none(), "the self-signed certificate is not trusted");
    assert!(server.is_healthy(&data), "it is healthy, and health checks must not end its streams");
    let metrics = Client { address: ([127, 0, 0, 1], server.metrics).into(), token: None };
    assert_eq!(metrics.get("/metrics").await.status, 200);
    let rtmp = rtmp.split_once("rtmp://").unwrap().1.trim_end_matches("/live").to_owned();
    let mut encoder = TcpStream::connect(rtmp).await.unwrap();
    encoder.write_all(&[&[3][..], &[0; 1_536]].concat()).await.unwrap();
    assert_eq!(timeout(PATIENCE, encoder.read_u8()).await.unwrap().unwrap(), 3);
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_authority_is_reported_and_challenges_are_not_answered() {
    let data = TempDir::new().unwrap();
    let ports: [u16; 3] = free_ports().unwrap();
    let pebble = Pebble::start(ports[0], DAY).await.unwrap();
    let nobody = RootCertStore::empty();
    // The authority is right, but its HTTPS is not trusted with another root.
    fs::write(data.path().join("other.pem"), Certificate::for_names(&["x"]).unwrap().pem).unwrap();
    let ca = data.path().join("other.pem");
    let mut server = Server::trusting(ca.to_str().unwrap(), &data, &pebble, ports, DOMAIN);
    let line = server.until("There is no valid certificate");
    assert!(line.contains("Check acme.directory, acme.ca"), "{line}");
    let mut config = ClientConfig::builder().with_root_certificates(nobody).with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", server.https)).await.unwrap();
    let refused = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(DOMAIN).unwrap(), tcp).await;
    assert!(refused.unwrap_err().to_string().contains("AccessDenied"), "no challenge, no certificate");
    server.stop();
}
