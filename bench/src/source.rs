//! The encoder: publishes a clip in a loop in real time, and records when each frame was sent.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{clip, encoder::Encoder, process};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Seconds of the clip, which is looped.
const CLIP_SECONDS: u32 = 10;

/// A clip in memory.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Its description in the table.
    pub name: &'static str,
    /// Codec headers.
    headers: Arc<Vec<Media>>,
    /// Frames in order, from 0 ms.
    frames: Arc<Vec<Media>>,
}

impl Clip {
    /// 1080p60 at 6 Mbit/s with 160 kbit/s of audio, as people send it to YouTube.
    pub fn large() -> anyhow::Result<Self> {
        Self::make("1080p60, 6.2 Mbit/s", "1920x1080", 60, "6000k", "160k")
    }

    /// 720p30 at 2.4 Mbit/s with 128 kbit/s of audio.
    pub fn small() -> anyhow::Result<Self> {
        Self::make("720p30, 2.5 Mbit/s", "1280x720", 30, "2400k", "128k")
    }

    /// 360p30 at 0.6 Mbit/s, sound included: what the benchmarks of SRS play.
    pub fn tiny() -> anyhow::Result<Self> {
        Self::make("360p30, 0.6 Mbit/s", "640x360", 30, "530k", "64k")
    }

    fn make(name: &'static str, size: &str, fps: u32, video: &str, audio: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("clip.flv");
        let picture = format!("testsrc2=size={size}:rate={fps},noise=alls=20:allf=t");
        let gop = (2 * fps).to_string();
        let seconds = CLIP_SECONDS.to_string();
        let rate =
            format!("bitrate={}:vbv-maxrate={}:vbv-bufsize={}:nal-hrd=cbr", kbit(video), kbit(video), kbit(video));
        process::output(
            "ffmpeg",
            &[
                "-hide_banner",
                "-loglevel",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                &picture,
                "-f",
                "lavfi",
                "-i",
                "sine=frequency=440:sample_rate=48000",
                "-t",
                &seconds,
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                &gop,
                "-keyint_min",
                &gop,
                "-sc_threshold",
                "0",
                "-x264-params",
                &rate,
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
                "-b:a",
                audio,
                "-flvflags",
                "no_duration_filesize",
                "-f",
                "flv",
                process::text(&path),
            ],
        )?;
        let is_header =
            |media: &Media| media.body.get(1) == Some(&0) && matches!(media.body.first(), Some(0x17 | 0xAF));
        let (headers, frames): (Vec<_>, Vec<_>) = clip::tags(&path)?.into_iter().partition(is_header);
        Ok(Self { name, headers: Arc::new(headers), frames: Arc::new(frames) })
    }
}

fn kbit(text: &str) -> &str {
    text.trim_end_matches('k')
}

/// When frames were sent: written by the source, read by the sinks.
#[derive(Clone, Debug, Default)]
pub struct Departures(Arc<Mutex<HashMap<u64, Instant>>>);

impl Departures {
    fn left(&self, body: &Bytes) {
        self.lock().insert(mark(body), Instant::now());
    }

    /// Time since a frame was sent.
    pub fn delay(&self, body: &Bytes) -> Option<Duration> {
        Some(self.lock().get(&mark(body))?.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Identifies a frame of the clip.
fn mark(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    (body.len(), body.get(..body.len().min(256))).hash(&mut hasher);
    hasher.finish()
}

/// Publishes `clip` to `address` until aborted.
pub async fn publish(
    clip: &Clip,
    address: SocketAddr,
    key: &str,
    departures: Departures,
) -> anyhow::Result<JoinHandle<()>> {
    let mut encoder = Encoder::publish(address, key).await.with_context(|| format!("publishing to {address}"))?;
    let clip = clip.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = send(&mut encoder, &clip, &departures).await {
            eprintln!("The encoder stopped: {error:#}");
        }
    }))
}

async fn send(encoder: &mut Encoder, clip: &Clip, departures: &Departures) -> anyhow::Result<()> {
    for header in clip.headers.iter() {
        encoder.send(header).await?;
    }
    let started = tokio::time::Instant::now();
    for round in 0_u32.. {
        for frame in clip.frames.iter() {
            let timestamp = round * CLIP_SECONDS * 1_000 + frame.timestamp;
            tokio::time::sleep_until(started + Duration::from_millis(timestamp.into())).await;
            if frame.kind == MediaKind::Video {
                departures.left(&frame.body);
            }
            encoder.send(&Media { timestamp, ..frame.clone() }).await?;
        }
    }
    Ok(())
}
