//! Unusual machines: without IPv6, with a volume that belongs to a group, and among services of Kubernetes.

use std::{
    fs::Permissions,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use gostream_testkit::{
    certificate::Certificate,
    process::{self, text},
};
use tempfile::TempDir;

/// A server that is killed when the test ends.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts"))
    }

    /// Its output up to the last line of the banner.
    pub fn banner(&mut self) -> Vec<String> {
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
fn every_port_is_bound_on_a_machine_without_ipv6() {
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

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("exists").permissions().mode() & 0o7777
}

/// A server whose data directory is writable only through its group, and cannot be changed with `chmod`.
fn on_a_volume_of_another(data: &Path) -> Running {
    let mut command = Command::new("setpriv");
    // Root without the right to change files of others, like a normal user.
    command.args(["--bounding-set=-fowner,-dac_override,-dac_read_search", env!("CARGO_BIN_EXE_gostream")]);
    command.args(["http", "rtmp", "metrics"].map(|port| format!("--{port}-listen=127.0.0.1:0")));
    command.args(["--data-dir", text(data)]).current_dir("/");
    Running::start(&mut command)
}

#[test]
fn a_group_owned_volume_is_accepted_and_its_files_are_private() {
    let folder = TempDir::new().expect("is made");
    let data = folder.path().join("volume");
    std::fs::create_dir(&data).expect("is made");
    if std::os::unix::fs::chown(&data, Some(12_345), None).is_err() {
        eprintln!("skipped: only root can make a directory of another user");
        return;
    }
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("is set");
    // The second time as after another mount by Kubernetes, which gives the content to the group as well.
    for round in ["first", "second"] {
        set_mode(&data, 0o2770);
        let mut server = on_a_volume_of_another(&data);
        let banner = server.banner().join("\n");
        assert!(banner.contains("stays open to its group"), "{round}: {banner}");
        assert_eq!(mode(&data), 0o2770, "{round}");
        for file in ["secret.key", "node.id", "gostream.db", "gostream.db-wal"] {
            assert_eq!(mode(&data.join(file)), 0o600, "{round}: {file}");
            set_mode(&data.join(file), 0o660);
        }
    }
    set_mode(&data, 0o775);
    let output = on_a_volume_of_another(&data).0.wait().expect("ends");
    assert_eq!(output.code(), Some(1), "others may read it");
}
