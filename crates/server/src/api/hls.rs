//! HLS over HTTP: playlists and segments from the engine's memory.
//!
//! The classic paths carry the stream key and work for whoever holds it. The same stream is under its playback id, with
//! names that do not carry the key.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use gostream_engine::spec::StreamKey;

use super::{Ctx, error::Problem};

const PLAYLIST: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/vnd.apple.mpegurl"), (header::CACHE_CONTROL, "no-cache")];
/// A number is never used twice for other bytes, so a segment may be kept for as long as anybody wants.
const SEGMENT: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "video/mp2t"), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];

/// The classic form: `{streamKey}.m3u8` and `{streamKey}-{n}.ts`.
#[utoipa::path(
    get, path = "/hls/{file}", tag = "hls", operation_id = "fetchHls", security(()),
    params(("file" = String, Path, description = "`{streamKey}.m3u8` or `{streamKey}-{n}.ts`")),
    responses(
        (status = 200, description = "The playlist, or a segment (MPEG-TS)", content_type = "application/vnd.apple.mpegurl", body = String),
        (status = 404, description = "`not_found`: unknown or offline", body = Problem),
    )
)]
pub(super) async fn classic(State(ctx): State<Ctx>, Path(file): Path<String>) -> Result<Response, Problem> {
    if let Some(key) = file.strip_suffix(".m3u8") {
        return playlist(ctx.engine.hls_playlist(&StreamKey::new(key)));
    }
    // Keys are UUIDs and have dashes: the number is behind the last.
    let (key, number) = file.strip_suffix(".ts").and_then(|name| name.rsplit_once('-')).ok_or_else(not_live)?;
    segment(&ctx, &StreamKey::new(key), number)
}

/// The same for viewers: `index.m3u8` and what it names.
#[utoipa::path(
    get, path = "/hls/{playbackId}/{file}", tag = "hls", operation_id = "fetchHlsByPlaybackId", security(()),
    params(
        ("playbackId" = String, Path, description = "`playbackId` of the project"),
        ("file" = String, Path, description = "`index.m3u8` or what it names"),
    ),
    responses(
        (status = 200, description = "The playlist, or a segment", content_type = "application/vnd.apple.mpegurl", body = String),
        (status = 404, description = "`not_found`: unknown or offline", body = Problem),
    )
)]
pub(super) async fn by_playback_id(
    State(ctx): State<Ctx>,
    Path((playback_id, file)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let key = ctx.keys.by_playback_id(&playback_id).ok_or_else(not_live)?;
    if file == "index.m3u8" {
        return playlist(ctx.engine.hls_playlist(&key).map(|text| without_key(&text, &key)));
    }
    segment(&ctx, &key, file.strip_suffix(".ts").ok_or_else(not_live)?)
}

fn playlist(text: Option<Bytes>) -> Result<Response, Problem> {
    text.map(|text| (PLAYLIST, text).into_response()).ok_or_else(not_live)
}

fn segment(ctx: &Ctx, key: &StreamKey, number: &str) -> Result<Response, Problem> {
    // One spelling per segment: caches must not keep `7` and `+07`.
    let parsed = number.parse::<u64>().ok().filter(|parsed| parsed.to_string() == number);
    let bytes = parsed.and_then(|number| ctx.engine.hls_segment(key, number));
    bytes.map(|bytes| (SEGMENT, bytes).into_response()).ok_or_else(not_live)
}

fn not_live() -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", "There is no such stream, or it is not live.")
}

/// The playlist with `{n}.ts` for `{streamKey}-{n}.ts`.
fn without_key(playlist: &[u8], key: &StreamKey) -> Bytes {
    let prefix = format!("{}-", key.expose());
    let text = String::from_utf8_lossy(playlist);
    let lines = text.lines().map(|line| line.strip_prefix(prefix.as_str()).unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playlist_for_viewers_has_no_key() {
        let key = StreamKey::new("3f1c-77");
        let classic = b"#EXTM3U\n#EXTINF:2.000,\n3f1c-77-0.ts\n#EXTINF:2.000,\n3f1c-77-1.ts\n";
        assert_eq!(without_key(classic, &key), "#EXTM3U\n#EXTINF:2.000,\n0.ts\n#EXTINF:2.000,\n1.ts\n");
    }
}
