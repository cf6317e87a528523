//! The HLS outputs of one broadcast, classic (MPEG-TS) and low-latency (fragmented MP4): a reader that cuts packets
//! into segments and parts, and the requests of players that wait for the next ones.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
pub use gostream_proto::hls::low_latency::{File, PlaylistRequest};
use gostream_proto::{
    hls::{
        Conformer, Segmenter, Window,
        low_latency::{FileResponse, LowLatencyStream, PlaylistResponse, Unsupported},
    },
    packet::Packet,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::sink::{Sink, stop_requested};
use crate::{
    broadcast::{
        Broadcast,
        ring::StartReason,
        subscription::{Batch, Subscription},
    },
    ticks::{Ticks, ticks_in},
};

/// Interval of reads when other readers are woken for each packet. Parts last half a second, so this adds little.
const READ_TICKS: u64 = ticks_in(Duration::from_millis(80));
/// No limit: reads all packets.
const READ_BYTES: usize = usize::MAX;

/// The newest segments, in memory.
#[derive(Debug)]
pub struct Output {
    /// The number of the first segment.
    first: u64,
    classic: Mutex<Window>,
    live: Mutex<LowLatencyStream>,
    /// Notified whenever a playlist changes; waiting requests subscribe.
    listed: watch::Sender<()>,
}

/// Response of the low-latency output.
#[derive(Debug)]
pub enum Served {
    /// A playlist.
    Playlist(String),
    /// An init segment.
    Init(Bytes),
    /// A segment or a part, in pieces to send one after another.
    Media(Vec<Bytes>),
    /// The request is invalid; with the reason.
    BadRequest(&'static str),
    /// The file does not exist, or no longer.
    NotFound,
    /// The request waited as long as the specification allows.
    TooLate,
}

impl Output {
    /// The outputs of a broadcast that begins at `at`. Segment numbers start at that time in seconds since 1970.
    /// Segments are longer than a second, so the next stream of the project starts after the last number of this one.
    pub(crate) fn new(at: SystemTime) -> Self {
        let first = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            first,
            classic: Mutex::default(),
            live: Mutex::new(LowLatencyStream::numbered_from(first)),
            listed: watch::Sender::default(),
        }
    }

    /// The classic media playlist with segments named `{prefix}-{n}.ts`; `None` before the first segment.
    pub fn playlist(&self, prefix: &str) -> Option<Bytes> {
        lock(&self.classic).playlist(prefix).map(Bytes::from)
    }

    /// Segment `n` of the classic playlist; muxed when first requested.
    pub fn segment(&self, n: u64) -> Option<Bytes> {
        let segment = lock(&self.classic).segment(n)?;
        Some(segment.ts())
    }

    /// Whether the low-latency playlist exists.
    pub fn is_ready(&self) -> bool {
        lock(&self.live).is_ready()
    }

    /// A file of the low-latency output. Waits for files that are announced but incomplete.
    pub async fn file(&self, file: File, request: PlaylistRequest) -> Served {
        let limit = Duration::from_millis(lock(&self.live).hold_max_ms());
        let mut listed = self.listed.subscribe();
        let waiting = async {
            loop {
                listed.mark_unchanged();
                if let Some(served) = response(&lock(&self.live), file, &request) {
                    return served;
                }
                if listed.changed().await.is_err() {
                    // The sender lives in `self`.
                    return Served::NotFound;
                }
            }
        };
        timeout(limit, waiting).await.unwrap_or(Served::TooLate)
    }
}

#[cfg(test)]
impl Output {
    /// The current response of the low-latency output.
    pub(crate) fn response(&self, file: File, request: &PlaylistRequest) -> Option<Served> {
        response(&lock(&self.live), file, request)
    }
}

/// The current response; `None` if the request should wait.
fn response(live: &LowLatencyStream, file: File, request: &PlaylistRequest) -> Option<Served> {
    let fetched = |fetch| match fetch {
        FileResponse::Ready(pieces) => Some(Served::Media(pieces)),
        FileResponse::NotYet => None,
        FileResponse::Gone => Some(Served::NotFound),
    };
    match file {
        // New players cannot start on a stream that ended.
        File::Multivariant if live.is_over() => Some(Served::NotFound),
        File::Multivariant => Some(live.multivariant().map_or(Served::NotFound, Served::Playlist)),
        File::Media => match live.playlist(request) {
            PlaylistResponse::Ready(playlist) => Some(Served::Playlist(playlist)),
            PlaylistResponse::NotYet => None,
            PlaylistResponse::BadRequest(reason) => Some(Served::BadRequest(reason)),
            PlaylistResponse::Empty => Some(Served::NotFound),
        },
        File::Init(version) => Some(live.init(version).map_or(Served::NotFound, Served::Init)),
        File::Segment(msn) => fetched(live.segment(msn)),
        File::Part(msn, part) => fetched(live.part(msn, part)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Packages a broadcast into its [`Output`].
#[derive(Debug)]
pub(crate) struct Hls {
    output: Arc<Output>,
    batch: Batch,
    conformer: Conformer,
    /// The packets of a batch after conforming, each with its arrival in ms since 1970.
    conformed: Vec<(Packet, u64)>,
    segmenter: Segmenter,
    /// Codecs that the preview leaves out.
    unsupported: Unsupported,
}

impl Hls {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        let segmenter = Segmenter::numbered_from(output.first);
        Self {
            output,
            batch: Batch::default(),
            conformer: Conformer::default(),
            conformed: Vec::new(),
            segmenter,
            unsupported: Unsupported::default(),
        }
    }

    /// Reads all available packets; `began_ms` is the beginning of the broadcast in ms since 1970. Returns false when
    /// there were none.
    pub(crate) fn read(&mut self, subscription: &mut Subscription, began_ms: u64) -> bool {
        subscription.read(&mut self.batch, READ_BYTES);
        if self.batch.begin.as_ref().is_some_and(|begin| begin.reason == StartReason::NoKeyframe) {
            self.segmenter.begin_anywhere();
            lock(&self.output.live).begin_anywhere();
        }
        let headers = self.batch.begin.iter().flat_map(|begin| begin.headers.iter());
        for entry in headers.chain(&self.batch.entries) {
            let wall_ms = began_ms + entry.arrived_ms.unsigned_abs();
            self.conformer.push(&entry.packet, wall_ms, &mut self.conformed);
        }
        self.cut(subscription.broadcast());
        !self.batch.entries.is_empty()
    }

    /// Completes the playlists after the end of the broadcast.
    pub(crate) fn finish(mut self, broadcast: &Broadcast) {
        self.conformer.finish(&mut self.conformed);
        self.cut(broadcast);
        if let Some(segment) = self.segmenter.end() {
            lock(&self.output.classic).push(segment);
        }
        lock(&self.output.classic).end();
        lock(&self.output.live).finish();
        self.output.listed.send_replace(());
    }

    fn cut(&mut self, broadcast: &Broadcast) {
        let mut live = lock(&self.output.live);
        let mut listed = false;
        for (packet, wall_ms) in self.conformed.drain(..) {
            listed |= live.push(&packet, wall_ms);
            if let Some(segment) = self.segmenter.push(&packet, wall_ms) {
                lock(&self.output.classic).push(segment);
            }
        }
        let left_out = live.unsupported();
        drop(live);
        if listed {
            self.output.listed.send_replace(());
        }
        if std::mem::replace(&mut self.unsupported, left_out) != left_out {
            broadcast.notices().add_unsupported(left_out.video, left_out.audio);
        }
    }
}

impl Sink for Hls {
    async fn run(mut self, mut subscription: Subscription, stop: CancellationToken) {
        let broadcast = Arc::clone(subscription.broadcast());
        let mut ticks = Ticks::every(READ_TICKS);
        loop {
            let is_over = tokio::select! {
                () = subscription.changed() => false,
                () = stop_requested(&broadcast, &stop) => true,
            };
            let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            // No pause before the first packets: after a pause, their keyframe might not be the newest any more.
            let has_read = self.read(&mut subscription, wall_ms.saturating_sub(broadcast.age_ms().unsigned_abs()));
            if is_over {
                break;
            }
            if has_read && !broadcast.wakes_on_ticks() {
                tokio::select! {
                    () = ticks.next() => {}
                    () = stop_requested(&broadcast, &stop) => {}
                }
            }
        }
        self.finish(&broadcast);
    }
}
