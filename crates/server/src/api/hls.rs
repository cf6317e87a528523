//! HLS over HTTP: playlists, segments and parts from the engine's memory.
//!
//! The classic paths contain the stream key and work for everyone who has it. The playback id serves the low-latency
//! form, whose paths do not contain the key. Requests for the next playlist or part block until it is available.

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::stream;
use gostream_engine::{
    hls::{File, PlaylistRequest, Served},
    spec::StreamKey,
};

use super::{context::Ctx, error::Problem};

const PLAYLIST: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/vnd.apple.mpegurl"), (header::CACHE_CONTROL, "no-cache")];
/// A segment number is never reused for other bytes, so caches may keep a segment without limit.
const IMMUTABLE: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");

/// The classic form: `{streamKey}.m3u8` and `{streamKey}-{n}.ts`.
#[utoipa::path(
    get, path = "/hls/{file}", tag = "hls", operation_id = "fetchHls", security(()),
    params(("file" = String, Path, description = "`{streamKey}.m3u8` or `{streamKey}-{n}.ts`")),
    responses(
        (status = 200, description = "The playlist, or a segment (MPEG-TS)", content_type = "application/vnd.apple.mpegurl", body = String),
        (status = 404, description = "`not_found`: unknown or offline", body = Problem),
    )
)]
pub(super) async fn classic(State(ctx): State<Ctx>, Path(file): Path<String>) -> Response {
    let kind = if file.ends_with(".m3u8") { "playlist" } else { "segment" };
    counted(&ctx, kind, classic_file(&ctx, &file))
}

fn classic_file(ctx: &Ctx, file: &str) -> Result<Response, Problem> {
    if let Some(key) = file.strip_suffix(".m3u8") {
        let output = ctx.engine.hls(&StreamKey::new(key)).ok_or_else(not_live)?;
        return output.playlist(key).map(|text| (PLAYLIST, text).into_response()).ok_or_else(not_live);
    }
    // Keys are UUIDs with dashes: the number follows the last dash.
    let (key, number) = file.strip_suffix(".ts").and_then(|name| name.rsplit_once('-')).ok_or_else(not_live)?;
    let output = ctx.engine.hls(&StreamKey::new(key)).ok_or_else(not_live)?;
    // Each segment has only one valid spelling, so that caches do not store `7` and `+07` separately.
    let parsed = number.parse::<u64>().ok().filter(|parsed| parsed.to_string() == number);
    let bytes = parsed.and_then(|number| output.segment(number)).ok_or_else(not_live)?;
    Ok(([(header::CONTENT_TYPE, "video/mp2t"), IMMUTABLE], bytes).into_response())
}

/// The low-latency form: `index.m3u8` and the files that it names (draft-pantos-hls-rfc8216bis).
#[utoipa::path(
    get, path = "/hls/{playbackId}/{file}", tag = "hls", operation_id = "fetchHlsByPlaybackId", security(()),
    params(
        ("playbackId" = String, Path, description = "`playbackId` of the project"),
        ("file" = String, Path, description = "`index.m3u8`, or a file that it names"),
        ("_HLS_msn" = Option<u64>, Query, description = "Respond once this segment is listed"),
        ("_HLS_part" = Option<u64>, Query, description = "Respond once this part of the segment is listed"),
        ("_HLS_skip" = Option<String>, Query, description = "`YES`: leave out older segments"),
    ),
    responses(
        (status = 200, description = "A playlist, an init segment, a segment or a part", content_type = "application/vnd.apple.mpegurl", body = String),
        (status = 400, description = "`bad_request`: the directives are invalid", body = Problem),
        (status = 404, description = "`not_found`: unknown or offline", body = Problem),
        (status = 503, description = "`not_yet`: the requested media did not arrive in time", body = Problem),
    )
)]
pub(super) async fn by_playback_id(
    State(ctx): State<Ctx>,
    Path((playback_id, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let (file, request) = (File::parse(&name), PlaylistRequest::parse(query.as_deref().unwrap_or_default()));
    let kind = match (file, request) {
        (Some(File::Media), Ok(PlaylistRequest { msn: Some(_), .. })) => "blocking_playlist",
        (Some(File::Multivariant | File::Media), _) => "playlist",
        (Some(File::Init(_)), _) => "init",
        (Some(File::Segment(_)), _) => "segment",
        (Some(File::Part(..)), _) => "part",
        (None, _) => "other",
    };
    let answer = match file {
        Some(file) => named_file(&ctx, &playback_id, file, request).await,
        None => Err(not_live()),
    };
    counted(&ctx, kind, answer)
}

async fn named_file(
    ctx: &Ctx,
    playback_id: &str,
    file: File,
    request: Result<PlaylistRequest, &'static str>,
) -> Result<Response, Problem> {
    let output = ctx.engine.hls_for_viewers(playback_id).ok_or_else(not_live)?;
    let bad = |why| Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("{why}."));
    let request = request.map_err(bad)?;
    match output.file(file, request).await {
        Served::Playlist(text) => Ok((PLAYLIST, text).into_response()),
        Served::Init(bytes) => Ok(([(header::CONTENT_TYPE, "video/mp4"), IMMUTABLE], bytes).into_response()),
        Served::Media(pieces) => {
            let length: usize = pieces.iter().map(bytes::Bytes::len).sum();
            let headers = [
                (header::CONTENT_TYPE, "video/iso.segment".to_owned()),
                (header::CONTENT_LENGTH, length.to_string()),
                (IMMUTABLE.0, IMMUTABLE.1.to_owned()),
            ];
            let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>));
            Ok((headers, Body::from_stream(pieces)).into_response())
        }
        Served::BadRequest(why) => Err(bad(why)),
        Served::NotFound => Err(not_live()),
        Served::TooLate => {
            let detail = "No new media arrived in time. The encoder may be disconnected; try again.";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet", detail))
        }
    }
}

/// Counts requests of players separately from other requests, because blocking ones take seconds as intended.
fn counted(ctx: &Ctx, kind: &'static str, answer: Result<Response, Problem>) -> Response {
    let response = answer.into_response();
    ctx.metrics.hls_request(kind, response.status().as_u16());
    response
}

fn not_live() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such stream, or it is not live.")
}
