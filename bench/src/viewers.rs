//! Viewers of the low-latency preview. Like a player, each keeps one connection, requests the next playlist before it
//! exists, and fetches every part.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
};

/// All viewers of one stream.
#[derive(Debug)]
pub struct Viewers {
    seen: Arc<Seen>,
    tasks: JoinSet<anyhow::Result<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    measures: AtomicBool,
    bytes: AtomicU64,
    /// When the first viewer had the playlist that lists this part.
    first: Mutex<HashMap<(u64, u64), Instant>>,
    /// How much later the others had it.
    later: Mutex<Vec<Duration>>,
}

impl Viewers {
    /// Starts `count` viewers of a playback id.
    pub fn start(count: usize, address: SocketAddr, playback_id: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(watch(address, format!("/hls/{playback_id}/"), Arc::clone(&seen)));
        }
        Self { seen, tasks }
    }

    /// Starts to record how late each playlist is.
    pub fn measure(&self) {
        self.seen.measures.store(true, Ordering::Relaxed);
    }

    /// Media bytes that all viewers received.
    pub fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    /// How much later than the first viewer the others had each playlist, sorted. An error if a viewer failed.
    pub fn lateness(&mut self) -> anyhow::Result<Vec<Duration>> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended?.context("a viewer gave up")?;
        }
        let mut later = self.seen.later.lock().unwrap_or_else(PoisonError::into_inner).clone();
        later.sort_unstable();
        Ok(later)
    }
}

async fn watch(address: SocketAddr, folder: String, seen: Arc<Seen>) -> anyhow::Result<()> {
    let mut connection = BufReader::new(TcpStream::connect(address).await?);
    let mut playlist = get(&mut connection, &format!("{folder}media.m3u8")).await?;
    loop {
        let text = String::from_utf8_lossy(&playlist).into_owned();
        let (msn, part, uri) = newest_part(&text).context("no part is listed")?;
        seen.note((msn, part));
        let bytes = get(&mut connection, &format!("{folder}{uri}")).await?;
        seen.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        playlist = get(&mut connection, &format!("{folder}media.m3u8?_HLS_msn={msn}&_HLS_part={}", part + 1)).await?;
    }
}

/// The last part listed: `EXT-X-PART:...URI="{msn}.{part}.m4s"`.
fn newest_part(playlist: &str) -> Option<(u64, u64, &str)> {
    let line = playlist.lines().rfind(|line| line.starts_with("#EXT-X-PART:"))?;
    let uri = line.split("URI=\"").nth(1)?.split('"').next()?;
    let (msn, part) = uri.strip_suffix(".m4s")?.split_once('.')?;
    Some((msn.parse().ok()?, part.parse().ok()?, uri))
}

impl Seen {
    fn note(&self, part: (u64, u64)) {
        if !self.measures.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let late_by = now - *first.entry(part).or_insert(now);
        drop(first);
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push(late_by);
    }
}

/// One request on a persistent connection.
async fn get(connection: &mut BufReader<TcpStream>, path: &str) -> anyhow::Result<Vec<u8>> {
    connection
        .get_mut()
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())
        .await?;
    let (mut status, mut length, mut line) = (String::new(), 0, String::new());
    connection.read_line(&mut status).await?;
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    if !status.contains(" 200 ") {
        bail!("{path}: {}: {}", status.trim(), String::from_utf8_lossy(&body));
    }
    Ok(body)
}
