//! The servers under comparison, each configured as its users would do it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gostream_testkit::process::{free_port, free_ports, text};
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use crate::{api::Api, usage::Usage};

/// The path of the module in Debian's package.
const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// Time limit for a server to become ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// This project.
    GoStream,
    /// nginx-rtmp, one worker, one `push` per destination.
    NginxPush,
    /// The original design: nginx-rtmp receives the stream, and one FFmpeg per destination pulls and pushes it.
    FfmpegEach,
}

impl Contender {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoStream => "GoStream",
            Self::NginxPush => "nginx-rtmp",
            Self::FfmpegEach => "nginx-rtmp + FFmpeg each",
        }
    }
}

/// What a server must do.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The server binary of this project.
    pub server: &'a Path,
    /// Number of incoming streams.
    pub streams: usize,
    /// Destination URLs of each stream; `{n}` is the number of the destination.
    pub destinations: Vec<String>,
    /// HLS must be available.
    pub hls: bool,
    /// A certificate to trust.
    pub trusted: Option<&'a Path>,
}

/// A server that is ready.
#[derive(Debug)]
pub struct Running {
    /// Address for encoders.
    pub rtmp: SocketAddr,
    /// Stream keys.
    pub keys: Vec<String>,
    /// Address and playback id of each stream, for players of this project.
    pub playback: Vec<(SocketAddr, String)>,
    /// Time from start to ready.
    pub ready_after: Duration,
    children: Vec<Child>,
    /// FFmpeg can start only when there is a stream to pull.
    pulls: Vec<Vec<String>>,
    _folder: TempDir,
}

impl Running {
    /// Starts a contender.
    pub async fn start(contender: Contender, task: &Task<'_>) -> anyhow::Result<Self> {
        match contender {
            Contender::GoStream => Self::gostream(task).await,
            Contender::NginxPush | Contender::FfmpegEach => Self::nginx(contender, task).await,
        }
    }

    /// Resource usage so far.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.children.iter().map(Child::id).collect::<Vec<_>>())
    }

    /// Called once the encoders publish.
    pub fn published(&mut self) -> anyhow::Result<()> {
        for arguments in std::mem::take(&mut self.pulls) {
            let child = Command::new("ffmpeg").args(&arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
            self.children.push(child);
        }
        Ok(())
    }

    async fn gostream(task: &Task<'_>) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [http, rtmp] = free_ports()?.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let server = fs::canonicalize(task.server)
            .with_context(|| format!("{} (make bench builds it)", task.server.display()))?;
        let started = Instant::now();
        let mut command = Command::new(server);
        command
            .env("GOSTREAM_DATA_DIR", folder.path())
            .env("GOSTREAM_HTTP_LISTEN", http.to_string())
            .env("GOSTREAM_RTMP_LISTEN", rtmp.to_string())
            .env("GOSTREAM_METRICS_LISTEN", "127.0.0.1:0")
            .env("GOSTREAM_EGRESS_ALLOW", "127.0.0.0/8")
            .env("GOSTREAM_QUOTA_LIVE_STREAMS", "1000")
            .env("GOSTREAM_QUOTA_DESTINATIONS", "10000")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log"))?);
        if let Some(trusted) = task.trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        let child = command.spawn()?;
        let mut api = Api { address: http, token: String::new() };
        while api.get("/readyz").await.map_or(0, |(status, _)| status) != 200 {
            if started.elapsed() > PATIENCE {
                bail!("GoStream is not ready: {}", fs::read_to_string(folder.path().join("log"))?);
            }
            sleep(Duration::from_millis(2)).await;
        }
        let ready_after = started.elapsed();
        let account = json!({"email": "bench@example.org", "password": "quiet lamp under rain"});
        let session = api.post("/api/auth/signup", &account).await?;
        api.token = session["token"].as_str().context("no token")?.to_owned();
        let (mut keys, mut playback) = (Vec::new(), Vec::new());
        for stream in 0..task.streams {
            let project = api.post("/api/projects", &json!({"name": format!("stream {stream}")})).await?;
            keys.push(project["streamKey"].as_str().context("no key")?.to_owned());
            playback.push((http, project["playbackId"].as_str().context("no playback id")?.to_owned()));
            for (n, url) in task.destinations.iter().enumerate() {
                let path = format!("/api/projects/{}/destinations", project["id"].as_str().unwrap_or_default());
                let body = json!({
                    "platform": "custom", "name": format!("{n}"), "rtmpUrl": url, "streamKey": format!("key-{stream}-{n}"),
                    "enabled": true,
                });
                api.post(&path, &body).await?;
            }
        }
        Ok(Self { rtmp, keys, playback, ready_after, children: vec![child], pulls: Vec::new(), _folder: folder })
    }

    async fn nginx(contender: Contender, task: &Task<'_>) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let root = text(folder.path());
        let rtmp = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let pushes: Vec<_> = match contender {
            Contender::NginxPush => {
                let push = |(n, url): (usize, &String)| format!("push {url}/key-{n};");
                task.destinations.iter().enumerate().map(push).collect()
            }
            _ => Vec::new(),
        };
        let hls = if task.hls {
            format!("hls on; hls_path {root}/hls; hls_fragment 2s; hls_playlist_length 12s;")
        } else {
            String::new()
        };
        let config = format!(
            "load_module {NGINX_MODULE};
            user root; daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log error;
            worker_rlimit_nofile 8192;
            events {{ worker_connections 4096; }}
            rtmp {{ server {{
                listen {rtmp}; chunk_size 4096; max_message 16M;
                application live {{ live on; {hls} {} }}
            }} }}",
            pushes.join(" "),
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config)?;
        let started = Instant::now();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c", text(&path), "-p", root])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nginx cannot be started (make bench installs it)")?;
        while TcpStream::connect(rtmp).await.is_err() {
            if started.elapsed() > PATIENCE {
                bail!("nginx is not ready: {}", fs::read_to_string(folder.path().join("error.log"))?);
            }
            sleep(Duration::from_millis(2)).await;
        }
        let keys: Vec<_> = (0..task.streams).map(|n| format!("stream-{n}")).collect();
        let pulls = match contender {
            Contender::FfmpegEach => pulls(rtmp, &keys, &task.destinations),
            _ => Vec::new(),
        };
        let ready_after = started.elapsed();
        Ok(Self { rtmp, keys, playback: Vec::new(), ready_after, children: vec![child], pulls, _folder: folder })
    }
}

/// FFmpeg's arguments, for one process per destination.
fn pulls(rtmp: SocketAddr, keys: &[String], destinations: &[String]) -> Vec<Vec<String>> {
    let pull = |(n, url): (usize, &String)| {
        let arguments = format!(
            "-nostdin -loglevel error -rw_timeout 10000000 -i rtmp://{rtmp}/live/{} -c copy -flvflags no_duration_filesize -f flv \
             {url}/key-{n}",
            keys.first().map_or("", String::as_str)
        );
        arguments.split_whitespace().map(str::to_owned).collect()
    };
    destinations.iter().enumerate().map(pull).collect()
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // nginx forwards SIGTERM to its worker; all processes exit within seconds.
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}
