//! Measures the output with FFmpeg: whether it decodes, the times of pictures and audio, and the times of flashes and
//! beeps.

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{platform::Visit, process::text};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::watch::Watched;

/// FFmpeg runs at the lowest priority and at most twice at a time, since other cases are still playing.
static DECODERS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

/// The luma above which a picture is a flash, and the level in dB above which audio is a beep.
const FLASH_LUMA: f64 = 128.0;
const BEEP_DB: f64 = -30.0;

/// All decoded media.
#[derive(Default)]
pub struct Measured {
    /// One per connection.
    pub destination: Vec<Decoded>,
    /// One per file: a discontinuity or another init segment begins a new file.
    pub classic: Vec<Decoded>,
    pub low_latency: Vec<Decoded>,
}

impl Measured {
    /// Decodes all outputs.
    pub async fn of(visits: &[Visit], classic: &Watched, low_latency: &Watched) -> Self {
        let flv = visits.iter().map(|visit| flv(&visit.media)).collect();
        let (classic, low_latency) = (classic.files(), low_latency.files());
        Self {
            destination: decode_all(flv, "flv").await,
            classic: decode_all(classic, "ts").await,
            low_latency: decode_all(low_latency, "mp4").await,
        }
    }
}

async fn decode_all(files: Vec<Bytes>, extension: &'static str) -> Vec<Decoded> {
    let mut decoded = Vec::new();
    for bytes in files {
        let _permit = DECODERS.acquire().await.expect("is never closed");
        decoded.push(spawn_blocking(move || decode(&bytes, extension)).await.expect("runs"));
    }
    decoded
}

/// A decoded file. Times are in seconds on the file's clock.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Decoded picture size.
    pub size: Option<(u64, u64)>,
    pub channels: Option<u64>,
    /// Errors of the decoders.
    pub errors: Vec<String>,
    /// Times of the pictures.
    pub pictures: Vec<f64>,
    /// Times of the first and last audio, if any.
    pub sound: Option<(f64, f64)>,
    /// The longest time between two windows of audio.
    pub longest_hole: f64,
    /// Start times of the flashes.
    pub flashes: Vec<f64>,
    /// Start times of the beeps.
    pub beeps: Vec<f64>,
}

impl Decoded {
    /// For each flash, the time to the nearest beep, in ms.
    pub fn beeps_after_flashes(&self) -> Vec<i64> {
        let nearest = |flash: &f64| {
            let distance = |beep: &&f64| (**beep - flash).abs();
            self.beeps.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
        };
        let after = |flash: &f64| nearest(flash).map(|beep| ((beep - flash) * 1_000.0).round() as i64);
        self.flashes.iter().filter_map(after).collect()
    }

    /// The longest time between two pictures, in seconds.
    pub fn longest_freeze(&self) -> f64 {
        longest_step(&self.pictures)
    }

    /// Number of pictures that share their time with another one.
    pub fn pictures_at_one_time(&self) -> usize {
        let mut times = self.pictures.clone();
        times.sort_by(f64::total_cmp);
        times.windows(2).filter(|pair| pair[1] - pair[0] < 0.000_5).count()
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |times: &[f64]| Some((*times.first()?, *times.last()?));
        write!(f, "{} pictures {:?}", self.pictures.len(), self.size)?;
        if let Some((first, last)) = span(&self.pictures) {
            write!(f, " from {first:.2} to {last:.2} s, freeze {:.2} s", self.longest_freeze())?;
        }
        if let Some((first, last)) = self.sound {
            write!(f, ", sound from {first:.2} to {last:.2} s, hole {:.2} s", self.longest_hole)?;
        }
        write!(f, ", beeps after flashes {:?} ms", self.beeps_after_flashes())?;
        if !self.errors.is_empty() {
            write!(f, ", {} errors: {:?}", self.errors.len(), &self.errors[..self.errors.len().min(3)])?;
        }
        Ok(())
    }
}

/// Decodes a file.
pub fn decode(bytes: &Bytes, extension: &str) -> Decoded {
    let folder = TempDir::new().expect("is made");
    let path = folder.path().join(format!("media.{extension}"));
    std::fs::write(&path, bytes).expect("is written");
    let probed = probe(&path);
    let find = |kind: &str| probed["streams"].as_array()?.iter().find(|stream| stream["codec_type"] == kind);
    // A track without any frame yet has no rate, and FFmpeg then decodes nothing.
    let (video, audio) = (find("video"), find("audio").filter(|stream| stream["sample_rate"] != "0"));
    let [pictures, sound] = ["pictures", "sound"].map(|name| folder.path().join(name));
    let video_filter = format!(
        "scale=32:18,format=yuv420p,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file={}",
        text(&pictures)
    );
    let audio_filter = format!(
        "asetnsamples=n=256,astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=RMS_level,\
         ametadata=print:key=lavfi.astats.Overall.RMS_level:file={}",
        text(&sound)
    );
    let mut arguments = vec!["-copyts", "-i", text(&path)];
    if video.is_some() {
        arguments.extend(["-map", "0:v:0", "-vf", &video_filter, "-fps_mode", "passthrough", "-f", "null", "-"]);
    }
    if audio.is_some() {
        arguments.extend(["-map", "0:a:0", "-af", &audio_filter, "-f", "null", "-"]);
    }
    let mut errors = Vec::new();
    if video.is_some() || audio.is_some() {
        errors = ffmpeg(&arguments);
    } else if !bytes.is_empty() {
        errors.push("there is neither video nor audio".to_owned());
    }
    let lumas = printed(&pictures, "YAVG");
    let levels = printed(&sound, "RMS_level");
    let times = |printed: &[(f64, f64)]| printed.iter().map(|(time, _)| *time).collect::<Vec<_>>();
    Decoded {
        size: video.and_then(|stream| Some((stream["width"].as_u64()?, stream["height"].as_u64()?))),
        channels: audio.and_then(|stream| stream["channels"].as_u64()),
        errors,
        pictures: times(&lumas),
        sound: levels.first().zip(levels.last()).map(|(first, last)| (first.0, last.0)),
        longest_hole: longest_step(&times(&levels)),
        flashes: rises(&lumas, FLASH_LUMA),
        beeps: rises(&levels, BEEP_DB),
    }
}

fn probe(path: &Path) -> Value {
    let output = Command::new("nice")
        .args(["-n", "15", "ffprobe", "-v", "quiet", "-of", "json", "-show_streams", text(path)])
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe starts");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Runs FFmpeg and returns the errors of decoders and demuxers. The null muxer also reports times, which do not matter
/// here.
fn ffmpeg(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("nice")
        .args(["-n", "15", "ffmpeg", "-nostdin", "-hide_banner", "-v", "repeat+error"])
        .args(arguments)
        .output()
        .expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("[null @"));
    lines.map(str::to_owned).collect()
}

/// The output of the `metadata` filters: the time of a frame in one line, its value in the next.
fn printed(path: &Path, key: &str) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (mut found, mut time) = (Vec::new(), None);
    for line in text.lines() {
        if let Some((_, after)) = line.split_once("pts_time:") {
            time = after.split_whitespace().next().and_then(|time| time.parse().ok());
        } else if let Some((_, value)) = line.split_once(key) {
            let value = value.trim_start_matches('=').parse().unwrap_or(f64::NEG_INFINITY);
            found.extend(time.take().map(|time| (time, value)));
        }
    }
    found
}

/// The longest step between consecutive times.
fn longest_step(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

/// Where values rise above a limit.
fn rises(values: &[(f64, f64)], limit: f64) -> Vec<f64> {
    let pairs = values.windows(2).filter(|pair| pair[0].1 <= limit && pair[1].1 > limit);
    pairs.map(|pair| pair[1].0).collect()
}

/// The messages as an FLV file (Adobe FLV 10.1 annex E).
fn flv(media: &[Media]) -> Bytes {
    let mut file = BytesMut::from(&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..]);
    for Media { kind, timestamp, body } in media {
        file.put_u8(match kind {
            MediaKind::Audio => 8,
            MediaKind::Video => 9,
            MediaKind::Metadata | MediaKind::Data => 18,
        });
        file.put_uint(body.len() as u64, 3);
        file.put_uint((timestamp & 0xFF_FFFF).into(), 3);
        file.put_u8((timestamp >> 24) as u8);
        file.put_uint(0, 3);
        file.put_slice(body);
        file.put_u32(body.len() as u32 + 11);
    }
    file.freeze()
}

/// The type of the first NAL unit of a segment that contains a slice (H.264 table 7-1: 1 to 5).
pub fn first_slice(segment: &Bytes, extension: &str) -> Option<u8> {
    let folder = TempDir::new().expect("is made");
    let [path, raw] = [&format!("segment.{extension}"), "raw"].map(|name| folder.path().join(name));
    std::fs::write(&path, segment).expect("is written");
    ffmpeg(&["-i", text(&path), "-map", "0:v:0", "-c", "copy", "-copyinkf", "-f", "h264", text(&raw)]);
    let stream = std::fs::read(raw).unwrap_or_default();
    let units = stream.windows(4).filter(|window| window.starts_with(&[0, 0, 1]));
    units.map(|window| window[3] & 31).find(|kind| (1..=5).contains(kind))
}

/// The NAL units of the pictures in a fragmented MP4 file, in order, including empty ones.
pub fn units_in_mp4(file: &Bytes) -> Vec<Bytes> {
    let folder = TempDir::new().expect("is made");
    let [path, raw] = ["media.mp4", "raw"].map(|name| folder.path().join(name));
    std::fs::write(&path, file).expect("is written");
    ffmpeg(&["-i", text(&path), "-map", "0:v:0", "-c", "copy", "-copyinkf", "-f", "data", text(&raw)]);
    let mut rest = Bytes::from(std::fs::read(raw).unwrap_or_default());
    let mut units = Vec::new();
    while rest.len() >= 4 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let end = rest.len().min(4 + length);
        units.push(rest.slice(4..end));
        rest = rest.slice(end..);
    }
    units
}
