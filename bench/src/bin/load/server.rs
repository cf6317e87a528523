//! The server under test: the real program with its own data directory.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gostream_testkit::process::free_ports;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::Client;

/// Time limit for the server to become ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Address of the API.
    pub http: SocketAddr,
    /// Address for encoders.
    pub rtmp: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts the program with the given database, or with SQLite.
    pub async fn start(program: &Path, database: Option<&str>) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [http, rtmp] = free_ports()?.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let program =
            fs::canonicalize(program).with_context(|| format!("{} (make load builds it)", program.display()))?;
        let mut command = Command::new(program);
        command
            .env("GOSTREAM_DATA_DIR", folder.path())
            .env("GOSTREAM_HTTP_LISTEN", http.to_string())
            .env("GOSTREAM_RTMP_LISTEN", rtmp.to_string())
            .env("GOSTREAM_METRICS_LISTEN", "127.0.0.1:0")
            .env("GOSTREAM_EGRESS_ALLOW", "127.0.0.0/8")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log"))?);
        if let Some(database) = database {
            command.env("GOSTREAM_DATABASE_URL", database);
        }
        let server = Self { http, rtmp, child: command.spawn()?, _folder: folder };
        let (client, started) = (Client::new(http), Instant::now());
        while client.get("/readyz").await.is_err() {
            if started.elapsed() > PATIENCE {
                bail!("the server is not ready: {}", fs::read_to_string(server._folder.path().join("log"))?);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let spent = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
