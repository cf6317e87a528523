//! The catalogue of platforms: one entry per platform in `platforms.json`, embedded in the program and parsed once.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

static CATALOGUE: LazyLock<Vec<Platform>> = LazyLock::new(|| {
    // The file is embedded and a test parses it, so this never fails.
    serde_json::from_str(include_str!("../platforms.json")).unwrap_or_default()
});

/// A platform that accepts live streams over RTMP.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Platform {
    /// The stable id, used as `platform` of a destination.
    #[schema(example = "twitch")]
    pub id: String,
    /// The name to display.
    #[schema(example = "Twitch")]
    pub name: String,
    /// The ingest servers. Empty if each account or stream gets a server of its own.
    pub servers: Vec<Server>,
    /// The page that shows the stream key.
    #[schema(required)]
    pub key_url: Option<String>,
    /// The platform's limits; `null` where it states none.
    pub limits: Limits,
    /// The accepted video codecs.
    pub video_codecs: Vec<String>,
    /// The accepted audio codecs.
    pub audio_codecs: Vec<String>,
    /// Peculiarities, for developers of the relay.
    #[serde(skip_serializing)]
    #[schema(ignore)]
    #[allow(dead_code, reason = "read by people, in the file")]
    notes: String,
    /// The source of the entry, for maintainers of the file.
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
    /// The name to display.
    pub name: String,
    /// The URL for `rtmpUrl`. The user must replace a part in braces (`{domain}`).
    #[schema(example = "rtmp://live.twitch.tv/app")]
    pub url: String,
    /// A second server that accepts the same stream under the same key at the same time, for `backupUrl`.
    #[serde(default)]
    #[schema(required)]
    pub backup: Option<String>,
}

/// The limits of a platform.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PlatformLimits)]
pub(crate) struct Limits {
    /// The highest video bitrate in kilobits per second.
    #[schema(required)]
    pub video_kbps: Option<u32>,
    /// The highest audio bitrate in kilobits per second.
    #[schema(required)]
    pub audio_kbps: Option<u32>,
    /// The longest keyframe interval in seconds.
    #[schema(required)]
    pub keyframe_seconds: Option<u32>,
    /// The highest frame rate in frames per second.
    #[schema(required)]
    pub fps: Option<u32>,
    /// The highest resolution, as in `1920x1080`.
    #[schema(required)]
    pub resolution: Option<String>,
}

/// All platforms, the most used first; the last one, `custom`, stands for any other server.
pub(crate) fn catalogue() -> &'static [Platform] {
    &CATALOGUE
}

/// Whether `id` is a valid `platform` of a destination.
pub(crate) fn is_known(id: &str) -> bool {
    catalogue().iter().any(|platform| platform.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gostream_proto::rtmp::url::RtmpUrl;

    use super::*;

    #[test]
    fn every_entry_is_valid() {
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
    fn the_documented_platforms_exist() {
        for id in ["youtube", "twitch", "facebook", "kick", "custom"] {
            assert!(is_known(id), "{id}");
        }
        assert!(!is_known("youtube-hls"), "not RTMP");
        let youtube = catalogue().iter().find(|platform| platform.id == "youtube").expect("is there");
        assert_eq!(youtube.servers[0].backup.as_deref(), Some("rtmps://b.rtmps.youtube.com:443/live2?backup=1"));
        assert_eq!(catalogue().last().map(|platform| platform.id.as_str()), Some("custom"));
    }
}
