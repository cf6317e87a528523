//! The program as a child process, with an account and a project.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    PATIENCE,
    clip::{Clip, bodies},
    platform::Platform,
    process::{Process, free_ports, text},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::http::Client;

/// A running server with one project.
pub struct Show {
    pub client: Client,
    pub rtmp: SocketAddr,
    pub project: String,
    pub key: String,
    server: Child,
    environment: Vec<(String, String)>,
    data: TempDir,
}

/// Mounts a small file system for the data directory, visible only to the server, and executes the server.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o size=3m,mode=700 tmpfs "$GOSTREAM_DATA_DIR" && exec "$0""#;

/// Starts the program on these addresses; returns it when it is ready.
async fn serve(data: &TempDir, http: SocketAddr, rtmp: SocketAddr, environment: &[(String, String)]) -> Child {
    serve_by(Command::new(env!("CARGO_BIN_EXE_gostream")), data, http, rtmp, environment).await
}

/// The same with a command that executes the program.
async fn serve_by(
    mut command: Command,
    data: &TempDir,
    http: SocketAddr,
    rtmp: SocketAddr,
    environment: &[(String, String)],
) -> Child {
    let started = Instant::now();
    let server = command
        .env("GOSTREAM_DATA_DIR", text(data.path()))
        .env("GOSTREAM_HTTP_LISTEN", http.to_string())
        .env("GOSTREAM_RTMP_LISTEN", rtmp.to_string())
        .env("GOSTREAM_METRICS_LISTEN", "127.0.0.1:0")
        .env("GOSTREAM_EGRESS_ALLOW", "127.0.0.0/8,::1/128")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let client = Client { address: http, token: None };
    let ready = async {
        while tokio::net::TcpStream::connect(http).await.is_err() || client.get("/readyz").await.status != 200 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("becomes ready");
    println!("from start to ready: {:?}", started.elapsed());
    server
}

/// Two unused addresses of this machine.
pub fn free_addresses() -> [SocketAddr; 2] {
    free_ports().expect("are free").map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

impl Show {
    /// Starts the program with these additional variables, signs up and creates a project.
    pub async fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_gostream")), environment).await
    }

    /// The same with a data directory on a file system of 3 MiB.
    pub async fn start_on_small_disk(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            ON_SMALL_DISK,
            env!("CARGO_BIN_EXE_gostream"),
        ]);
        Self::start_by(command, environment).await
    }

    /// The same with a log that goes into a pipe which is never read.
    pub async fn start_unread(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", r#"mkfifo log && exec "$0" 2<>log"#, env!("CARGO_BIN_EXE_gostream")]);
        Self::start_by(command, environment).await
    }

    async fn start_by(command: Command, environment: &[(&str, &str)]) -> Self {
        let data = TempDir::new().expect("is made");
        let [http, rtmp] = free_addresses();
        let environment: Vec<_> =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let server = serve_by(command, &data, http, rtmp, &environment).await;
        let mut show = Self {
            client: Client { address: http, token: None },
            rtmp,
            project: String::new(),
            key: String::new(),
            server,
            environment,
            data,
        };
        let account = json!({"email": "one@example.org", "password": "quiet lamp under rain"});
        let reply = show.client.post("/api/auth/signup", account).await.json(201);
        show.client.token = reply["token"].as_str().map(str::to_owned);
        let project = show.client.post("/api/projects", json!({"name": "Sunday service"})).await.json(201);
        show.project = project["id"].as_str().expect("has an id").to_owned();
        show.key = project["streamKey"].as_str().expect("has a key").to_owned();
        show
    }

    /// Another server on the same PostgreSQL, with its own data directory, for the same account and project.
    pub async fn second_server(&self) -> Self {
        let data = TempDir::new().expect("is made");
        std::fs::copy(self.data.path().join("secret.key"), data.path().join("secret.key")).expect("is copied");
        let [http, rtmp] = free_addresses();
        let server = serve(&data, http, rtmp, &self.environment).await;
        Self {
            client: Client { address: http, token: self.client.token.clone() },
            rtmp,
            project: self.project.clone(),
            key: self.key.clone(),
            server,
            environment: self.environment.clone(),
            data,
        }
    }

    /// Kills the server with SIGKILL and starts it again on the same data.
    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.server = serve(&self.data, self.client.address, self.rtmp, &self.environment).await;
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.server.kill().expect("is killed");
        self.server.wait().expect("is gone");
    }

    /// Asks the server to stop, with SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends the server a signal.
    pub fn signal(&self, name: &str) {
        let id = self.server.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("starts");
        assert!(status.success());
    }

    /// Waits for the exit of a server that was asked to stop.
    pub async fn stopped(&mut self) -> ExitStatus {
        let server = &mut self.server;
        let ended = async {
            loop {
                match server.try_wait().expect("is ours") {
                    Some(status) => return status,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("stops")
    }

    /// Starts a killed server at new addresses: others may use the old ones by now.
    pub async fn restart(&mut self) {
        let [http, rtmp] = free_addresses();
        (self.client.address, self.rtmp) = (http, rtmp);
        self.server = serve(&self.data, self.client.address, self.rtmp, &self.environment).await;
    }

    /// Moves to another machine: a new, empty data directory.
    pub fn move_house(&mut self) {
        self.data = TempDir::new().expect("is made");
    }

    /// The path of a data file in the server's mount namespace.
    pub fn seen(&self, name: &str) -> PathBuf {
        let data = self.data.path().strip_prefix("/").expect("is absolute");
        Path::new(&format!("/proc/{}/root", self.server.id())).join(data).join(name)
    }

    /// Runs a command in the server's namespaces and returns its output.
    pub fn command_inside(&self, arguments: &[&str], input: &str) -> Output {
        let id = self.server.id().to_string();
        let mut child = Command::new("nsenter")
            .args(["--target", &id, "--user", "--mount", "--preserve-credentials", env!("CARGO_BIN_EXE_gostream")])
            .args(arguments)
            .env("GOSTREAM_DATA_DIR", text(self.data.path()))
            .env("GOSTREAM_HTTP_LISTEN", self.client.address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let _ = child.stdin.take().expect("is piped").write_all(input.as_bytes());
        child.wait_with_output().expect("ends")
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Runs a command on the same data with this input, and returns its output.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.spawn(arguments);
        let mut stdin = child.stdin.take().expect("is piped");
        // A command that does not read may have exited.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("ends")
    }

    /// Starts a command on the same data.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_gostream"))
            .args(arguments)
            .env("GOSTREAM_DATA_DIR", text(self.data.path()))
            .env("GOSTREAM_HTTP_LISTEN", self.client.address.to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// Sets a variable from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Adds an enabled destination and returns its id.
    pub async fn destination(&self, url: &str, key: &str) -> String {
        let body = json!({"platform": "custom", "name": key, "rtmpUrl": url, "streamKey": key, "enabled": true});
        let reply = self.client.post(&format!("/api/projects/{}/destinations", self.project), body).await.json(201);
        reply["id"].as_str().expect("has an id").to_owned()
    }

    /// Calls `relay/start` or `relay/stop`.
    pub async fn relay(&self, destination: &str, verb: &str) {
        self.client
            .post(&format!("/api/destinations/{destination}/relay/{verb}"), json!({}))
            .await
            .json(200);
    }

    /// The project as the API shows it.
    pub async fn status(&self) -> Value {
        self.client.get(&format!("/api/projects/{}", self.project)).await.json(200)
    }

    /// Waits until the project satisfies `wanted`.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("never {what}: {:#}", self.status().await),
        }
    }

    /// Waits until every enabled relay is live.
    pub async fn until_all_live(&self) {
        self.until("all live", |project| {
            let destinations = project["destinations"].as_array().expect("is a list");
            let wanted = destinations.iter().filter(|destination| destination["enabled"] == true);
            wanted.into_iter().all(|destination| destination["relay"]["state"] == "live")
        })
        .await;
    }

    /// The URL for publishing and playing.
    pub fn url(&self, key: &str) -> String {
        format!("rtmp://{}/live/{key}", self.rtmp)
    }

    /// The server's resident memory.
    pub fn resident_kb(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).expect("runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("is there");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("is a number")
    }

    /// Files and sockets that the server has open. Only root may list those of a process that is not dumpable; for
    /// others the size of the directory is their number (proc(5), since Linux 6.2).
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.server.id());
        let size = std::fs::metadata(&folder).expect("runs").len() as usize;
        std::fs::read_dir(folder).map_or(size, Iterator::count)
    }

    /// FFmpeg, publishing a file unchanged in real time.
    pub fn publish(&self, file: &Path, more: &[&str]) -> Process {
        let url = self.url(&self.key);
        let mut arguments = vec!["-hide_banner", "-loglevel", "warning", "-re"];
        arguments.extend(more);
        arguments.extend(["-i", text(file), "-c", "copy", "-f", "flv", &url]);
        Process::start("ffmpeg", &arguments).expect("starts")
    }
}

/// Waits for the end of an encoder that sends a clip, and checks what each platform received.
pub async fn every_picture_arrived(encoder: Process, platforms: &[Platform], clip: &Clip) {
    let (ended, said) = encoder.wait(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{said}");
    for platform in platforms {
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        let video = |media: &[_]| bodies(media, MediaKind::Video);
        assert_eq!(visits.len(), 1, "a single connection");
        assert!(video(&visits[0].media) == video(&clip.tags), "every picture, byte for byte");
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
