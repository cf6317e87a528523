//! A real nginx with the RTMP module: the server of the original design, used as a platform that records its streams.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gostream_proto::rtmp::media::Media;
use tempfile::TempDir;

use crate::{
    PATIENCE, clip,
    link::{Link, THERE},
    process::{Process, free_port, text},
};

/// The path of the module in Debian's package.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A running nginx-rtmp. Application `live` records every stream to an FLV file.
#[derive(Debug)]
pub struct Nginx {
    /// Its RTMP port.
    pub port: u16,
    host: &'static str,
    /// Command prefix.
    enter: Vec<String>,
    process: Process,
    folder: TempDir,
}

/// A single process, so that killing it leaves no other.
fn run(enter: &[String], folder: &TempDir) -> anyhow::Result<Process> {
    let path = folder.path().join("nginx.conf");
    let words = ["nginx", "-e", "stderr", "-c", text(&path), "-p", text(folder.path())];
    let words: Vec<_> = enter.iter().map(String::as_str).chain(words).collect();
    let (program, arguments) = words.split_first().context("has a word")?;
    Process::start(program, arguments)
}

impl Nginx {
    /// Starts it with `rtmp { server { application live { ... } } }` and more directives in the application.
    pub async fn start(directives: &str) -> anyhow::Result<Self> {
        Self::start_on("127.0.0.1", Vec::new(), directives).await
    }

    /// Starts it at the far end of a link.
    pub async fn start_behind(link: &Link) -> anyhow::Result<Self> {
        Self::start_on(THERE, link.enter().to_vec(), "").await
    }

    async fn start_on(host: &'static str, enter: Vec<String>, directives: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        // Its workers run as another user.
        make_public(folder.path())?;
        let port = free_port()?;
        let records = folder.path().join("records");
        fs::create_dir(&records)?;
        make_public(&records)?;
        let config = format!(
            "load_module {MODULE};
            daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log info;
            events {{ worker_connections 512; }}
            rtmp {{ access_log off; server {{
                listen {host}:{port};
                max_message 16M;
                application live {{
                    live on;
                    record all; record_path {records}; record_unique off; record_suffix .flv;
                    {directives}
                }}
            }} }}",
            root = text(folder.path()),
            records = text(&records),
        );
        fs::write(folder.path().join("nginx.conf"), config)?;
        let mut nginx = Self { port, host, process: run(&enter, &folder)?, enter, folder };
        nginx.until_listening().await?;
        Ok(nginx)
    }

    /// Kills it, as a power failure does, and starts it again on the same port.
    pub async fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.process.signal("KILL")?;
        while self.process.is_running() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.process = run(&self.enter, &self.folder)?;
        self.until_listening().await
    }

    async fn until_listening(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while tokio::net::TcpStream::connect((self.host, self.port)).await.is_err() {
            if !self.process.is_running() || started.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
                bail!("nginx does not listen: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The URL of its application.
    pub fn url(&self) -> String {
        format!("rtmp://{}:{}/live", self.host, self.port)
    }

    /// Stops it, so that its files are complete, and reads the recording of a stream.
    pub async fn recorded(self, name: &str) -> anyhow::Result<Vec<Media>> {
        self.recorded_all(&[name]).await?.pop().context("one name gives one record")
    }

    /// The same for several streams.
    pub async fn recorded_all(self, names: &[&str]) -> anyhow::Result<Vec<Vec<Media>>> {
        self.process.signal("TERM")?;
        self.process.wait(PATIENCE).await?;
        let path = |name: &str| -> PathBuf { self.folder.path().join("records").join(format!("{name}.flv")) };
        names.iter().map(|name| clip::tags(&path(name))).collect()
    }
}

fn make_public(path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    Ok(())
}
