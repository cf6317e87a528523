//! The dashboard's files, embedded when the page was built before the program (`make build` does both).
//!
//! Names under `assets/` hold a hash of their content, so browsers keep them for good; everything else is asked for again
//! and answered with 304 while it is the same. The build writes a Brotli and a gzip form beside each file that shrinks.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The page of the dashboard: every path that is no file leads to it, and its router shows what belongs there.
const INDEX: &str = "index.html";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// What the page may do: run its own scripts, talk to its own server, play video that its player hands over as blobs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The embedded answer to a GET of `path`: the file, or the dashboard's page for a browser on its way to a path that only the
/// page's own router knows. `None` when there is no such file, or when the program was built without the page: programs that
/// ask for nonsense are told so.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Option<Response> {
    let name = path.trim_start_matches('/');
    let browses = || {
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accepted.is_some_and(|kinds| kinds.contains("text/html"))
    };
    let is_page = name.is_empty() || !name.contains('.') && browses();
    let name = if is_page { INDEX } else { name };
    let (encoding, file) = encoded(name, headers)?;
    let etag = format!("\"{}{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()), encoding.unwrap_or_default());
    let mut response = if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_response()
    };
    let cache = if name.starts_with("assets/") { IMMUTABLE } else { REVALIDATE };
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, content_type(name));
    put(header::CACHE_CONTROL, cache);
    put(header::ETAG, &etag);
    put(header::VARY, "accept-encoding");
    if let Some(encoding) = encoding {
        put(header::CONTENT_ENCODING, encoding);
    }
    if name == INDEX {
        put(header::CONTENT_SECURITY_POLICY, POLICY);
    }
    Some(response)
}

/// The smallest form of a file that the client takes, and its encoding.
fn encoded(name: &str, headers: &HeaderMap) -> Option<(Option<&'static str>, EmbeddedFile)> {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes =
        |encoding: &str| accepted.split(',').any(|part| part.split(';').next().unwrap_or_default().trim() == encoding);
    [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(encoding, _)| takes(encoding))
        .find_map(|(encoding, ending)| Some((Some(encoding), Files::get(&format!("{name}.{ending}"))?)))
        .or_else(|| Some((None, Files::get(name)?)))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "webmanifest" => "application/json",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}
