//! Integration with service managers and containers: readiness notification, and health checks over HTTP and HTTPS.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Output, Stdio},
    time::Instant,
};

use gostream_testkit::{PATIENCE, certificate::Certificate, process::text};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::show::{Show, free_addresses};

fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_of_readiness_and_stop() {
    let folder = TempDir::new().expect("is made");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("is bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("is set");
    let heard = move || {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("is printed");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let show = Show::start(&[("NOTIFY_SOCKET", text(&path))]).await;
    let (ready, heard) = spawn_blocking(move || (heard(), heard)).await.expect("ends");
    assert_eq!(ready, "READY=1");
    show.terminate();
    assert_eq!(spawn_blocking(heard).await.expect("ends"), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_the_server_of_the_same_settings() {
    let show = Show::start(&[]).await;
    assert_eq!(outcome(&show.command(&["health"], "")), (Some(0), String::new()));
    let (code, printed) = outcome(&show.command(&["health", "--http-listen=127.0.0.1:1"], ""));
    assert!(code == Some(1) && printed.contains("No server answers at 127.0.0.1:1: "), "{printed}");

    // Another program listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("is bound");
    let flag = format!("--http-listen={}", listener.local_addr().expect("is bound"));
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().expect("is asked");
        let length = stream.read(&mut [0; 1_024]).expect("is asked");
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            .expect("is written");
        length
    });
    let (code, printed) = outcome(&show.command(&["health", &flag], ""));
    assert!(code == Some(1) && printed.contains("is not ready: HTTP/1.1 503"), "{printed}");
    assert!(other.join().expect("ends") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_over_tls_accepts_only_its_own_certificate() {
    let files = TempDir::new().expect("is made");
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    // Its names do not include the address, and it is self-signed.
    let ours = Certificate::for_names(&["stream.example.org"]).expect("is made");
    std::fs::write(&cert, &ours.pem).expect("is written");
    std::fs::write(&key, &ours.key_pem).expect("is written");
    let [http, rtmp] = free_addresses();
    let gostream = |arguments: &[&str], cert: &Path, key: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gostream"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(files.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.args(["--metrics-listen", "off", "--tls-cert", text(cert), "--tls-key", text(key)]);
        command.args([format!("--http-listen={http}"), format!("--rtmp-listen={rtmp}")]);
        command
    };
    let mut server = gostream(&[], &cert, &key).stderr(Stdio::null()).spawn().expect("starts");
    let deadline = Instant::now() + PATIENCE;
    while outcome(&gostream(&["health"], &cert, &key).output().expect("starts")) != (Some(0), String::new()) {
        assert!(Instant::now() < deadline, "never ready");
    }

    let other = Certificate::for_names(&["stream.example.org"]).expect("is made");
    let [other_cert, other_key] = ["other.pem", "other-key.pem"].map(|name| files.path().join(name));
    std::fs::write(&other_cert, &other.pem).expect("is written");
    std::fs::write(&other_key, &other.key_pem).expect("is written");
    let output = gostream(&["health"], &other_cert, &other_key).output().expect("starts");
    server.kill().expect("is killed");
    server.wait().expect("is gone");
    let (code, printed) = outcome(&output);
    assert!(code == Some(1) && printed.contains("No server answers at"), "{printed}");
}
