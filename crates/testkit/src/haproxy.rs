//! A real HAProxy that forwards TCP connections with a PROXY header.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    time::Instant,
};

use anyhow::bail;
use tempfile::TempDir;

use crate::{
    PATIENCE,
    process::{Process, free_port, text},
};

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    /// Its ports, in the order of the servers.
    pub ports: Vec<u16>,
    process: Process,
    folder: TempDir,
}

impl Haproxy {
    /// Starts it in front of these servers. Each has server options, such as `source 127.0.0.2 send-proxy check`, and
    /// lines for its section.
    pub async fn start(servers: &[(SocketAddr, &str, &str)]) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name);
        let mut config = format!(
            "global\n  stats socket {}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n",
            text(&path("stats"))
        );
        let mut ports = Vec::new();
        for (number, (address, options, lines)) in servers.iter().enumerate() {
            let port = free_port()?;
            config += &format!(
                "listen p{number}\n  bind 127.0.0.1:{port}\n  {lines}\n  server s {address} inter 100ms {options}\n"
            );
            ports.push(port);
        }
        fs::write(path("haproxy.cfg"), config)?;
        let process = Process::start("haproxy", &["-db", "-f", text(&path("haproxy.cfg"))])?;
        let mut haproxy = Self { ports, process, folder };
        let started = Instant::now();
        while haproxy.statistics().is_err() {
            if !haproxy.process.is_running() || started.elapsed() > PATIENCE {
                bail!("HAProxy does not start: {:?}", haproxy.process.wait(PATIENCE).await?);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(haproxy)
    }

    /// Waits until the health check of each server has the given result, such as `L7OK`.
    pub async fn until_checked(&self, results: &[&str]) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let statistics = self.statistics()?;
            // Columns: section, server, ..., 17: state, 36: result of the last check.
            let servers = statistics.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let checks: Vec<_> = servers
                .filter(|columns| columns.get(1) == Some(&"s"))
                .map(|columns| [17, 36].map(|column| columns.get(column).copied().unwrap_or_default().to_owned()))
                .collect();
            let is_up = checks.len() == results.len()
                && checks.iter().zip(results).all(|([state, check], wanted)| state == "UP" && check == wanted);
            if is_up {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("the checks say {checks:?}");
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn statistics(&self) -> anyhow::Result<String> {
        let mut socket = UnixStream::connect(self.folder.path().join("stats"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"show stat\n")?;
        let mut statistics = String::new();
        socket.read_to_string(&mut statistics)?;
        Ok(statistics)
    }
}
