//! Clips: short FLV files made by FFmpeg, and their tags.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use gostream_proto::{
    flv::file,
    rtmp::media::{Media, MediaKind},
};
use tempfile::TempDir;

use crate::process::{output, text};

/// An FLV file with its tags.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The file.
    pub path: PathBuf,
    /// Its audio and video tags, in order.
    pub tags: Vec<Media>,
    _folder: Arc<TempDir>,
}

/// How to make a clip.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// Seconds.
    pub seconds: u32,
    /// FFmpeg's video options; `None` for a clip without video.
    pub video: Option<&'a str>,
    /// FFmpeg's audio options; `None` for a clip without audio.
    pub audio: Option<&'a str>,
}

/// 640x360 at 30 fps with B-frames and a keyframe every second.
pub const H264: &str =
    "-c:v libx264 -preset ultrafast -bf 2 -g 30 -keyint_min 30 -sc_threshold 0 -b:v 800k -pix_fmt yuv420p";
/// AAC at 96 kbit/s.
pub const AAC: &str = "-c:a aac -b:a 96k -ar 48000 -ac 2";

impl Clip {
    /// Makes a clip of a moving test pattern and a tone.
    pub fn make(recipe: Recipe<'_>) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("clip.flv");
        let seconds = recipe.seconds.to_string();
        let mut arguments: Vec<&str> = "-hide_banner -loglevel error -y".split(' ').collect();
        if recipe.video.is_some() {
            arguments.extend("-f lavfi -i testsrc2=size=640x360:rate=30".split(' '));
        }
        if recipe.audio.is_some() {
            arguments.extend("-f lavfi -i sine=frequency=440:sample_rate=48000".split(' '));
        }
        arguments.extend(["-t", &seconds]);
        for options in [recipe.video, recipe.audio].into_iter().flatten() {
            arguments.extend(options.split(' '));
        }
        arguments.extend(["-flvflags", "no_duration_filesize", "-f", "flv", text(&path)]);
        output("ffmpeg", &arguments)?;
        Self::read(path, Arc::new(folder))
    }

    /// H.264 with B-frames and AAC.
    pub fn usual(seconds: u32) -> anyhow::Result<Self> {
        Self::make(Recipe { seconds, video: Some(H264), audio: Some(AAC) })
    }

    fn read(path: PathBuf, folder: Arc<TempDir>) -> anyhow::Result<Self> {
        let tags = tags(&path)?;
        Ok(Self { path, tags, _folder: folder })
    }

    /// The bodies of one kind, in order.
    pub fn bodies(&self, kind: MediaKind) -> Vec<Bytes> {
        bodies(&self.tags, kind)
    }
}

/// The bodies of one kind, in order.
pub fn bodies(media: &[Media], kind: MediaKind) -> Vec<Bytes> {
    media.iter().filter(|tag| tag.kind == kind).map(|tag| tag.body.clone()).collect()
}

/// The audio and video tags of an FLV file, in order.
pub fn tags(path: &Path) -> anyhow::Result<Vec<Media>> {
    let mut media = tags_with_metadata(path)?;
    media.retain(|tag| tag.kind != MediaKind::Metadata);
    Ok(media)
}

/// All tags of an FLV file, in order.
pub fn tags_with_metadata(path: &Path) -> anyhow::Result<Vec<Media>> {
    let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?);
    let mut media = Vec::new();
    for tag in file::tags(bytes)? {
        let tag = tag?;
        let kind = match tag.kind {
            8 => MediaKind::Audio,
            9 => MediaKind::Video,
            18 => MediaKind::Metadata,
            _ => continue,
        };
        media.push(Media { kind, timestamp: tag.timestamp, body: tag.body });
    }
    Ok(media)
}
