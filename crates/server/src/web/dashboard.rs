//! The files of the dashboard, embedded if the page was built before the program (`make build` builds both).
//!
//! Names under `assets/` contain a hash of the content, so browsers cache them permanently. Other files are
//! revalidated, with a 304 response while they are unchanged. The build writes Brotli and gzip variants of each file
//! that they make smaller.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The page of the dashboard. It is served for every path that is not a file; its router shows the view of the path.
const INDEX: &str = "index.html";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// The content security policy: own scripts, requests to the own server, and video from blobs of the player.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The response to a GET of `path`: the file, or the dashboard's page if a browser requests a path without a file,
/// which the page's router handles. `None` if there is no such file, or if the program was built without the page. So
/// programs get an error for an unknown path.
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

/// The smallest variant of a file that the client accepts, and its encoding.
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
