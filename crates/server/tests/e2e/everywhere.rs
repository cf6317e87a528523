//! Machines that are not like the developer's: without IPv6, with a volume that belongs to a group, beside services of Kubernetes.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use gostream_testkit::{
    certificate::Certificate,
    process::{self, text},
};
use tempfile::TempDir;

/// A server that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts"))
    }

    /// Everything that it says up to the banner's last line.
    fn banner(&mut self) -> Vec<String> {
        let said = self.0.stderr.as_mut().expect("is piped");
        let mut lines = Vec::new();
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let is_last = line.starts_with("  Data ");
            lines.push(line);
            if is_last {
                return lines;
            }
        }
        panic!("it did not start: {lines:?}");
    }
}

/// A program that runs another one as on a machine without IPv6.
fn no_ipv6(folder: &Path) -> PathBuf {
    let program = folder.join("no_ipv6");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/no_ipv6.c");
    process::output("cc", &["-o", text(&program), source]).expect("is compiled");
    program
}

#[test]
fn every_port_is_taken_on_a_machine_without_ipv6() {
    let folder = TempDir::new().expect("is made");
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let certificate = Certificate::for_names(&["localhost"]).expect("is made");
    std::fs::write(&cert, &certificate.pem).expect("is written");
    std::fs::write(&key, &certificate.key_pem).expect("is written");
    let mut command = Command::new(no_ipv6(folder.path()));
    command.arg(env!("CARGO_BIN_EXE_gostream")).current_dir(folder.path());
    command.args(["http", "rtmp", "rtmps", "metrics"].map(|port| format!("--{port}-listen=[::]:0")));
    command.args(["--tls-cert", text(&cert), "--tls-key", text(&key)]);
    let mut server = Running::start(&mut command);
    let banner = server.banner();
    let ports: Vec<u16> = banner
        .iter()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_once("://localhost:"))
        .filter_map(|(_, rest)| rest.trim_end_matches("/live").parse().ok())
        .collect();
    assert_eq!(ports.len(), 3, "{banner:?}");
    for port in ports {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("is taken");
    }
}
