//! One account does all possible harm; another one is not affected. `NEIGHBOUR_SECONDS=60` runs longer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    PATIENCE,
    clip::Clip,
    encoder::Encoder,
    platform::{Behaviour, Platform},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::show::{Show, every_picture_arrived};

/// Duration in `make test`, in seconds.
const SECONDS: u64 = 15;
/// Limit of the server's memory during the attack, in kB, and of what remains afterwards.
const MEMORY_KB_MAX: i64 = 300 * 1024;
const KEPT_KB_MAX: i64 = 64 * 1024;
/// A login takes a quarter of a second on an idle machine, and five times that without optimisation, which `make
/// neighbour` enables.
const LOGIN_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });
const PASSWORD: &str = "quiet lamp under rain";

/// The attacker: an account, and addresses of its own.
#[derive(Clone)]
struct Intruder {
    http: SocketAddr,
    rtmp: SocketAddr,
    token: String,
    /// Ids and stream keys of its projects.
    projects: Vec<(String, String)>,
    until: Instant,
    done: Arc<[AtomicU64; KINDS.len()]>,
}

/// The attacks, all at the same time.
const KINDS: [&str; 10] = [
    "tiny messages",
    "publish loop",
    "dead names",
    "token churn",
    "followers",
    "half heads",
    "wrong logins",
    "costly passwords",
    "lists",
    "changes",
];

/// Connects from an address of this machine.
async fn connect(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

impl Intruder {
    /// Signs up and creates some projects.
    async fn new(show: &Show, until: Instant) -> Self {
        let mut intruder = Self {
            http: show.client.address,
            rtmp: show.rtmp,
            token: String::new(),
            projects: Vec::new(),
            until,
            done: Arc::default(),
        };
        let account = json!({"email": "two@example.org", "password": PASSWORD});
        let (_, account) =
            intruder.ask([127, 9, 0, 1], "POST", "/api/auth/signup", Some(account)).await.expect("signs up");
        intruder.token = account["token"].as_str().expect("has a token").to_owned();
        for n in 0..6 {
            let body = Some(json!({"name": format!("Project {n}")}));
            let (_, project) = intruder.ask([127, 9, 0, 1], "POST", "/api/projects", body).await.expect("is made");
            let text = |name: &str| project[name].as_str().expect("is a text").to_owned();
            intruder.projects.push((text("id"), text("streamKey")));
        }
        intruder
    }

    /// One request on a new connection. Returns the status if there was a response.
    async fn ask(&self, from: [u8; 4], method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let asking = async {
            let mut stream = connect(from, self.http).await.ok()?;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                self.http,
                self.token,
                body.len()
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            let text = String::from_utf8_lossy(&answer);
            let status = text.split(' ').nth(1)?.parse().ok()?;
            let json = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
            Some((status, json.unwrap_or_default()))
        };
        timeout(Duration::from_secs(5), asking).await.ok().flatten()
    }

    /// Runs one kind of attack until the time is over.
    async fn harm(self, kind: usize, n: u8) {
        while Instant::now() < self.until {
            let once = async {
                match kind {
                    0 => self.tiny_messages(n).await,
                    1 => self.publish_loop().await,
                    2 => self.dead_names(n).await,
                    3 => self.token_churn().await,
                    4 => self.follow(n).await,
                    5 => self.half_head(n).await,
                    6 => self.wrong_login(n).await,
                    7 => self.costly_password(n).await,
                    8 => _ = self.ask([127, 9, 0, n], "GET", "/api/projects", None).await,
                    _ => self.changes(n).await,
                }
            };
            let _ = timeout(self.until.saturating_duration_since(Instant::now()), once).await;
            self.done[kind].fetch_add(1, Ordering::Relaxed);
            // An attacker that is refused at once must not take the CPU from the test itself.
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn tiny_messages(&self, n: u8) {
        let (_, key) = &self.projects[usize::from(n) % self.projects.len()];
        let Ok(mut encoder) = Encoder::publish(self.rtmp, key).await else { return };
        let bodies = [&b""[..], b"\xAF", b"\xAF\x01"];
        let kinds = [MediaKind::Audio, MediaKind::Video];
        loop {
            let tiny = |n: usize| Media { kind: kinds[n % 2], timestamp: 0, body: Bytes::from_static(bodies[n % 3]) };
            let many: Vec<_> = (0..2_000).map(tiny).collect();
            if encoder.send_all(&many).await.is_err() {
                return;
            }
        }
    }

    async fn publish_loop(&self) {
        let (_, key) = &self.projects[self.projects.len() - 1];
        if let Ok(encoder) = Encoder::publish(self.rtmp, key).await {
            let _ = encoder.stop().await;
        }
    }

    async fn dead_names(&self, n: u8) {
        let path = format!("/api/projects/{}/destinations", self.projects[0].0);
        let url = format!("rtmp://silent-{n}.name.invalid/live");
        let body = json!({"platform": "custom", "name": "dead", "rtmpUrl": url, "streamKey": "k"});
        let Some((_, destination)) = self.ask([127, 9, 1, n], "POST", &path, Some(body)).await else { return };
        let Some(id) = destination["id"].as_str() else { return };
        self.ask([127, 9, 1, n], "POST", &format!("/api/destinations/{id}/test"), None).await;
        self.ask([127, 9, 1, n], "DELETE", &format!("/api/destinations/{id}"), None).await;
    }

    async fn token_churn(&self) {
        let from = [127, 9, 2, 1];
        let made = self.ask(from, "POST", "/api/auth/tokens", Some(json!({"name": "churn"}))).await;
        if let Some(id) = made.as_ref().and_then(|(_, token)| token["id"].as_str()) {
            self.ask(from, "DELETE", &format!("/api/auth/tokens/{id}"), None).await;
        }
    }

    /// Opens the events of a project, and reads none.
    async fn follow(&self, n: u8) {
        let Ok(mut stream) = connect([127, 9, 3, n % 8], self.http).await else { return };
        let request = format!(
            "GET /api/projects/{}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            self.projects[0].0, self.token
        );
        let _ = stream.write_all(request.as_bytes()).await;
        sleep(Duration::from_secs(5)).await;
    }

    async fn half_head(&self, n: u8) {
        let Ok(mut stream) = connect([127, 9, 4, n % 16], self.http).await else { return };
        let head = [b"GET / HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &[b'x'; 60_000]].concat();
        let _ = stream.write_all(&head).await;
        let _ = stream.read(&mut [0; 64]).await;
    }

    async fn wrong_login(&self, n: u8) {
        let body = json!({"email": format!("nobody-{}@example.org", n % 4), "password": "wrong password for it"});
        self.ask([127, 9, 5, n], "POST", "/api/auth/login", Some(body)).await;
    }

    /// Many at once.
    async fn changes(&self, n: u8) {
        let path = format!("/api/projects/{}", self.projects[1].0);
        let change = |at: u64| Some(json!({"name": format!("Changed {n}-{at}")}));
        let done = self.done[9].load(Ordering::Relaxed);
        let many = (0..32).map(|at| self.ask([127, 9, 7, n], "PATCH", &path, change(32 * done + at)));
        futures::future::join_all(many).await;
    }

    async fn costly_password(&self, n: u8) {
        let email = format!("n{n}-{}@example.org", self.done[7].load(Ordering::Relaxed));
        let body = json!({"email": email, "password": "4a@4".repeat(17)});
        self.ask([127, 9, 6, n], "POST", "/api/auth/signup", Some(body)).await;
    }
}

/// Watches the server's memory and returns the maximum.
async fn memory(show: &Show, until: Instant) -> i64 {
    let most = AtomicI64::new(0);
    while Instant::now() < until {
        most.fetch_max(show.resident_kb(), Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
    }
    most.into_inner()
}

/// The history is complete, and the quota of one stream is free.
async fn goes_on(show: &Show) {
    let history = async {
        loop {
            let streams = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
            match streams["items"].as_array().expect("is a list").as_slice() {
                [only] if only["endReason"] == "encoder_stopped" => return,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(PATIENCE, history).await.expect("one stream, with its end");
    let encoder = Encoder::publish(show.rtmp, &show.key).await.expect("the quota is free");
    encoder.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_cannot_take_the_server_from_another() {
    let seconds = std::env::var("NEIGHBOUR_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let clip = Clip::usual(seconds as u32 + 10).expect("FFmpeg makes it");
    let show = Show::start(&[("GOSTREAM_QUOTA_LIVE_STREAMS", "1")]).await;
    let mut platforms = Vec::new();
    for n in 0..5 {
        let platform = Platform::start(Behaviour::default()).await.expect("listens");
        show.destination(&platform.url(), &format!("key-{n}")).await;
        platforms.push(platform);
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let intruder = Intruder::new(&show, until).await;
    let before_kb = show.resident_kb();
    let mut harm = JoinSet::new();
    for (kind, at_once) in [2, 2, 8, 2, 40, 64, 8, 6, 8, 8].into_iter().enumerate() {
        (1..=at_once).for_each(|n| _ = harm.spawn(intruder.clone().harm(kind, n)));
    }
    let ffmpeg = show.publish(&clip.path, &[]);
    let neighbour = async {
        let mut slowest = Duration::ZERO;
        while Instant::now() < until {
            let begun = Instant::now();
            let body = json!({"email": "one@example.org", "password": PASSWORD});
            show.client.post("/api/auth/login", body).await.json(200);
            slowest = slowest.max(begun.elapsed());
            // A user who logs in all the time would be slowed down as well.
            sleep(Duration::from_secs(seconds) / 10).await;
        }
        slowest
    };
    let (most_kb, slowest) = tokio::join!(memory(&show, until), neighbour);
    harm.join_all().await;
    let done: Vec<_> = KINDS.iter().zip(intruder.done.iter()).collect();
    println!("login at most {slowest:?}, memory {before_kb} to {most_kb} kB, harm {done:?}");
    assert!(intruder.done.iter().all(|done| done.load(Ordering::Relaxed) > 0), "every attack was tried: {done:?}");
    assert!(most_kb < MEMORY_KB_MAX, "{most_kb} kB");
    assert!(slowest < LOGIN_MAX, "a login took {slowest:?}");

    every_picture_arrived(ffmpeg, &platforms, &clip).await;
    goes_on(&show).await;
    let returned = async {
        while show.resident_kb() - before_kb > KEPT_KB_MAX {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let returned = timeout(PATIENCE, returned).await;
    assert!(returned.is_ok(), "{before_kb} kB before, {} kB afterwards", show.resident_kb());
}
