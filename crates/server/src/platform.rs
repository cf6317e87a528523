//! The catalogue of platforms: one entry per platform in `platforms.json`, embedded, parsed once.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

static CATALOGUE: LazyLock<Vec<Platform>> = LazyLock::new(|| {
    // The file is part of the program and a test parses it, so this never fails.
    serde_json::from_str(include_str!("../platforms.json")).unwrap_or_default()
});

/// A place that takes live streams over RTMP.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Platform {
    /// Stable; what a destination carries as `platform`.
    #[schema(example = "twitch")]
    pub id: String,
    /// For people.
    #[schema(example = "Twitch")]
    pub name: String,
    /// Where it takes streams. Empty when each account, or each stream, gets a server of its own.
    pub servers: Vec<Server>,
    /// The page that shows the stream key.
    #[schema(required)]
    pub key_url: Option<String>,
    /// What it takes at most; `null` where it does not say.
    pub limits: Limits,
    /// Video codecs it takes.
    pub video_codecs: Vec<String>,
    /// Audio codecs it takes.
    pub audio_codecs: Vec<String>,
    /// Peculiarities, for whoever writes the relay.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    #[allow(dead_code, reason = "read by people, in the file")]
    notes: String,
    /// Where the entry comes from, for whoever maintains the file.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    #[allow(dead_code, reason = "read by people, in the file")]
    source: String,
}

/// One ingest server.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlatformServer)]
pub(crate) struct Server {
    /// For people.
    pub name: String,
    /// Goes into `rtmpUrl`. A part in braces (`{domain}`) is for the user to fill in.
    #[schema(example = "rtmp://live.twitch.tv/app")]
    pub url: String,
    /// A second server that takes the same stream under the same key at the same time; goes into `backupUrl`.
    #[serde(default)]
    #[schema(required)]
    pub backup: Option<String>,
}

/// What a platform takes at most.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PlatformLimits)]
pub(crate) struct Limits {
    /// Kilobits per second.
    #[schema(required)]
    pub video_kbps: Option<u32>,
    /// Kilobits per second.
    #[schema(required)]
    pub audio_kbps: Option<u32>,
    /// Seconds from keyframe to keyframe.
    #[schema(required)]
    pub keyframe_seconds: Option<u32>,
    /// Frames per second.
    #[schema(required)]
    pub fps: Option<u32>,
    /// Width and height, as in `1920x1080`.
    #[schema(required)]
    pub resolution: Option<String>,
}

/// Every platform, the most used first; last `custom`, which stands for every other server.
pub(crate) fn catalogue() -> &'static [Platform] {
    &CATALOGUE
}

/// Whether a destination may name `id`.
pub(crate) fn is_known(id: &str) -> bool {
    catalogue().iter().any(|platform| platform.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gostream_proto::rtmp::url::RtmpUrl;

    use super::*;

    #[test]
    fn every_entry_can_be_used() {
        let platforms: Vec<Platform> = serde_json::from_str(include_str!("../platforms.json")).expect("parses");
        let ids: HashSet<_> = platforms.iter().map(|platform| platform.id.as_str()).collect();
        assert_eq!(ids.len(), platforms.len(), "ids are unique");
        let servers = platforms.iter().flat_map(|platform| &platform.servers);
        for url in servers.flat_map(|server| std::iter::once(&server.url).chain(&server.backup)) {
            let filled = url.replace("{domain}", "live.example").replace("{host}", "live.example");
            let url = RtmpUrl::parse(&filled).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(!url.host().is_empty());
        }
        assert!(
            platforms
                .iter()
                .all(|platform| platform.key_url.as_ref().is_none_or(|url| url.starts_with("https://")))
        );
    }

    #[test]
    fn the_named_platforms_are_there() {
        for id in ["youtube", "twitch", "facebook", "kick", "custom"] {
            assert!(is_known(id), "{id}");
        }
        assert!(!is_known("youtube-hls"), "not RTMP");
        let youtube = catalogue().iter().find(|platform| platform.id == "youtube").expect("is there");
        assert_eq!(youtube.servers[0].backup.as_deref(), Some("rtmps://b.rtmps.youtube.com:443/live2?backup=1"));
        assert_eq!(catalogue().last().map(|platform| platform.id.as_str()), Some("custom"));
    }
}
