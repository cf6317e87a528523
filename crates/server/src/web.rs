//! Web pages: the embedded dashboard, and the few pages that the server renders itself.

pub(crate) mod dashboard;

use axum::{
    http::header,
    response::{Html, IntoResponse as _, Response},
};

/// The content security policy of pages rendered here: inline styles, no scripts, no framing.
pub(crate) const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;\
color:#1c1f24;background:#fff}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}h3{margin:1.8rem 0 .3rem}\
code{background:#eef1f5;padding:.1em .3em;border-radius:3px}table{border-collapse:collapse;width:100%}\
th{text-align:left;font-weight:400;width:16rem;vertical-align:top}th,td{padding:.25rem .5rem;border-top:1px solid #e4e7ec}\
p{margin:.3rem 0}@media(prefers-color-scheme:dark){body{color:#e4e7ec;background:#14171c}a{color:#8ab4ff}\
code{background:#252a33}th,td{border-color:#2c323c}}";

/// The page at `/` if the program was built without the dashboard.
pub(crate) fn bare() -> Response {
    let body = "<h1>GoStream</h1><p>This server takes one live stream in and sends it to every platform its owner chose.</p>\
                <p>It was built without its page. It is used through its API: <a href=\"/api/docs\">read how</a>.</p>";
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page("GoStream", body))).into_response()
}

/// An HTML document with this body, which is HTML.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
