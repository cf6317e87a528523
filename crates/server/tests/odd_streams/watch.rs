//! HLS watchers: follow a playlist like a simple player, and keep every version of it and every segment.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// Poll interval of a playlist.
const POLL: Duration = Duration::from_millis(200);
/// Response timeout: only listed files are requested, so the server has them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// A segment as first listed.
#[derive(Clone, Debug)]
pub struct Segment {
    pub name: String,
    /// Duration in seconds, from `EXTINF`.
    pub seconds: f64,
    /// Follows an `EXT-X-DISCONTINUITY`.
    pub discontinuous: bool,
    /// The init segment, from `EXT-X-MAP`.
    pub map: Option<String>,
    /// When it first appeared in the playlist, from the start of watching.
    pub listed_at: Duration,
    pub bytes: Bytes,
}

/// The records of a watcher.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Every version of the playlist, with the time.
    pub playlists: Vec<(Duration, String)>,
    pub segments: Vec<Segment>,
    /// Init segments by name.
    pub inits: BTreeMap<String, Bytes>,
    /// Listed files that could not be fetched.
    pub missing: Vec<String>,
    /// The longest interval between two polls: the precision of listing times.
    pub slowest_poll: Duration,
}

impl Watched {
    /// The distinct `EXT-X-TARGETDURATION` values.
    pub fn target_durations(&self) -> Vec<u64> {
        let mut found: Vec<u64> = self.playlists.iter().filter_map(|(_, text)| target_duration(text)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Segments whose rounded `EXTINF` exceeds the target duration of their playlist (RFC 8216 4.3.3.1).
    pub fn too_long(&self) -> Vec<String> {
        let listed = self.playlists.iter().flat_map(|(_, text)| {
            let most = target_duration(text).unwrap_or(0) as f64;
            let above = entries(text).into_iter().filter(move |entry| entry.seconds.round() > most);
            above.map(move |entry| format!("{} lasts {} s of {most} s", entry.name, entry.seconds))
        });
        let mut found: Vec<_> = listed.collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The sum of all `EXTINF`, in seconds.
    pub fn listed_seconds(&self) -> f64 {
        self.segments.iter().map(|segment| segment.seconds).sum()
    }

    /// The longest `EXTINF`, in seconds.
    pub fn longest_seconds(&self) -> f64 {
        self.segments.iter().map(|segment| segment.seconds).fold(0.0, f64::max)
    }

    /// Total duration of the segments after the first listing, by `EXTINF` and by the time until they were listed; in a
    /// live stream both are equal.
    pub fn listed_and_passed(&self) -> Option<(f64, f64)> {
        let first = self.segments.first()?.listed_at;
        let later: Vec<_> = self.segments.iter().filter(|segment| segment.listed_at > first).collect();
        let passed = later.last()?.listed_at - first;
        Some((later.iter().map(|segment| segment.seconds).sum(), passed.as_secs_f64()))
    }

    pub fn discontinuities(&self) -> usize {
        self.segments.iter().filter(|segment| segment.discontinuous).count()
    }

    /// The longest time between two versions of the playlist, or from the newest to the end, in seconds.
    pub fn longest_pause(&self, end: Duration) -> f64 {
        let times: Vec<_> = self.playlists.iter().map(|(at, _)| *at).chain([end]).collect();
        times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs_f64()).fold(0.0, f64::max)
    }

    /// The segments concatenated; a discontinuity or another init segment begins a new file.
    pub fn files(&self) -> Vec<Bytes> {
        let mut files: Vec<(Option<&String>, Vec<u8>)> = Vec::new();
        for segment in &self.segments {
            let map = segment.map.as_ref();
            if segment.discontinuous || files.last().is_none_or(|(last, _)| *last != map) {
                files.push((map, self.init(segment).to_vec()));
            }
            if let Some((_, file)) = files.last_mut() {
                file.extend_from_slice(&segment.bytes);
            }
        }
        files.into_iter().map(|(_, file)| file.into()).collect()
    }

    /// A single segment as a file.
    pub fn alone(&self, segment: &Segment) -> Bytes {
        [self.init(segment), segment.bytes.clone()].concat().into()
    }

    fn init(&self, segment: &Segment) -> Bytes {
        segment.map.as_ref().and_then(|name| self.inits.get(name)).cloned().unwrap_or_default()
    }
}

fn target_duration(playlist: &str) -> Option<u64> {
    playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:")?.parse().ok())
}

#[derive(Default)]
struct Entry {
    name: String,
    seconds: f64,
    discontinuous: bool,
    map: Option<String>,
}

fn entries(playlist: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut next = Entry::default();
    for line in playlist.lines() {
        if let Some(map) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            next.map = map.split('"').next().map(str::to_owned);
        } else if let Some(info) = line.strip_prefix("#EXTINF:") {
            next.seconds = info.split(',').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
        } else if line == "#EXT-X-DISCONTINUITY" {
            next.discontinuous = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            let map = next.map.clone();
            found.push(Entry { name: line.to_owned(), ..std::mem::take(&mut next) });
            next.map = map;
        }
    }
    found
}

/// Follows the playlist at `path` until stopped.
pub async fn watch(server: SocketAddr, path: String, stop: CancellationToken) -> Watched {
    let http = Http { server, sender: None };
    let mut watcher = Watcher { http, seen: Watched::default(), since: Instant::now(), looked_at: Duration::ZERO };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut polls = interval(POLL);
    polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        polls.tick().await;
        watcher.poll(&path, &folder).await;
    }
    watcher.seen
}

struct Watcher {
    http: Http,
    seen: Watched,
    since: Instant,
    looked_at: Duration,
}

impl Watcher {
    async fn poll(&mut self, path: &str, folder: &str) {
        let asked_at = self.since.elapsed();
        let Some(playlist) = self.http.get(path).await else { return };
        // Files listed since the last response may have appeared just after it.
        if !self.seen.playlists.is_empty() {
            self.seen.slowest_poll = self.seen.slowest_poll.max(self.since.elapsed() - self.looked_at);
        }
        self.looked_at = asked_at;
        let text = String::from_utf8_lossy(&playlist).into_owned();
        if self.seen.playlists.last().is_some_and(|(_, last)| *last == text) {
            return;
        }
        let listed_at = self.since.elapsed();
        for entry in entries(&text) {
            if self.seen.segments.iter().any(|segment| segment.name == entry.name) {
                continue;
            }
            if let Some(map) = entry.map.as_ref().filter(|&map| !self.seen.inits.contains_key(map)) {
                let init = self.fetched(folder, map).await;
                self.seen.inits.insert(map.clone(), init);
            }
            let bytes = self.fetched(folder, &entry.name).await;
            let Entry { name, seconds, discontinuous, map } = entry;
            self.seen.segments.push(Segment { name, seconds, discontinuous, map, listed_at, bytes });
        }
        self.seen.playlists.push((listed_at, text));
    }

    async fn fetched(&mut self, folder: &str, name: &str) -> Bytes {
        let bytes = self.http.get(&format!("{folder}/{name}")).await;
        bytes.unwrap_or_else(|| {
            self.seen.missing.push(name.to_owned());
            Bytes::new()
        })
    }
}

/// A persistent connection, reopened when the server closes it.
struct Http {
    server: SocketAddr,
    sender: Option<http1::SendRequest<Empty<Bytes>>>,
}

impl Http {
    /// The body of a 200 response.
    async fn get(&mut self, path: &str) -> Option<Bytes> {
        let answer = timeout(ANSWER_TIMEOUT, self.ask(path)).await;
        let Ok(Ok((status, body))) = answer else {
            self.sender = None;
            return None;
        };
        (status == 200).then_some(body)
    }

    async fn ask(&mut self, path: &str) -> anyhow::Result<(u16, Bytes)> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let stream = TcpStream::connect(self.server).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        sender.ready().await?;
        let request = Request::builder().uri(path).header("host", self.server.to_string()).body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok((status, body))
    }
}
