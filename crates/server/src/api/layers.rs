//! Layers for every request: ids, metrics, timeouts, security headers, and problem documents for unknown routes. Paths
//! under `/hls` contain stream keys, so logs and metrics contain the route's pattern, never the path.

use std::{
    any::Any,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use gostream_store::Trouble;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{context::Ctx, error::Problem, extract};
use crate::listen::OpenRequest;

/// How long a client waits for a handler, including the arrival of the body. Two password hashes after those of others
/// take a few seconds.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest request id that is accepted from a proxy, in characters.
const REQUEST_ID_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Half a year (RFC 6797 section 6.1.1). Subdomains are not included, because they may belong to other servers.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=15768000");
/// The content security policy of responses that are not pages: no scripts, no framing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Which sites may embed a response (Fetch, section 3.7).
pub(super) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Isolates the page from pages of other sites that it opens or that open it (HTML, section 7.1.3).
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// The browser features that the page may use; the preview needs none of these.
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const PERMISSIONS: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), serial=(), usb=()";

/// Sets request ids, logs, counts metrics and adds headers.
pub(super) async fn observe(State(ctx): State<Ctx>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let id = request_id(request.headers());
    let (parts, body) = request.into_parts();
    let is_secure = extract::is_secure(&parts, &ctx);
    let request = Request::from_parts(parts, body);
    let span = tracing::info_span!("request", http.method = method, http.route = route, request.id = id);
    let mut response = async {
        let response = next.run(request).await;
        let duration_ms = began.elapsed().as_millis() as u64;
        tracing::debug!(http.status = response.status().as_u16(), duration_ms, "A request was answered.");
        response
    }
    .instrument(span)
    .await;
    ctx.metrics.request(method, &route, response.status().as_u16(), began.elapsed());
    if let Some(&trouble) = response.extensions().get::<Trouble>() {
        ctx.database_health.report(trouble);
    }
    add_headers(response.headers_mut(), &id);
    if is_secure {
        response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(STRICT_TRANSPORT);
    }
    response
}

/// The name of a known method. Clients must not be able to invent values of a metric label.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let given = given.filter(|id| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.chars().all(plain));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn add_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (RESOURCE_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
        (PERMISSIONS_POLICY, PERMISSIONS),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Runs the handler as a task of the server. axum drops a handler at its next `.await` when the client disconnects, and
/// a change would then lack its line in the audit log and its effect. The task holds the request's permit until it
/// ends, and the stop waits for it.
pub(super) async fn run_to_end(State(handlers): State<TaskTracker>, request: Request, next: Next) -> Response {
    let open_request = request.extensions().get::<OpenRequest>().cloned();
    let handler = async move {
        let response = next.run(request).await;
        drop(open_request);
        response
    };
    match handlers.spawn(handler.in_current_span()).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime aborts these tasks.
            Err(_) => Problem::timeout().into_response(),
        },
    }
}

/// Responds for a handler that takes too long. Event streams are not affected, because their handler returns at once.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    timeout(HANDLER_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| Problem::timeout().into_response())
}

/// 404 for an unknown path.
pub(super) async fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path; /api/docs lists all paths.")
}

/// 405 for a known path with another method.
pub(super) async fn no_such_method() -> Problem {
    let detail = "This path does not support this method; `Allow` lists the supported ones.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// 500 for a handler that panicked. The panic hook has logged the location.
pub(super) fn after_panic(_payload: Box<dyn Any + Send>) -> Response {
    let detail = "An internal error occurred. The server's log has the cause.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use axum::{
        Router,
        body::{Body, Bytes},
        middleware::{from_fn, from_fn_with_state},
        routing::post,
    };
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_handler_of_a_disconnected_client_finishes_before_the_stop() {
        let (begun, goes_on, done) =
            (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let handlers = TaskTracker::new();
        let (told, waits, finished) = (begun.clone(), goes_on.clone(), done.clone());
        let handler = async move || {
            told.notify_one();
            waits.notified().await;
            finished.store(true, Ordering::Release);
        };
        let layer = from_fn_with_state(handlers.clone(), run_to_end);
        let router = Router::new().route("/", post(handler)).layer(layer);
        let request = Request::post("/").body(Body::empty()).expect("is one");
        let mut answer = Box::pin(TowerToHyperService::new(router).call(request));
        tokio::select! {
            _ = &mut answer => panic!("the handler waits"),
            () = begun.notified() => {}
        }
        drop(answer);
        handlers.close();
        assert_eq!(handlers.len(), 1, "the stop waits for it");
        goes_on.notify_one();
        handlers.wait().await;
        assert!(done.load(Ordering::Acquire));
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_gets_a_response() {
        let layer = from_fn_with_state(TaskTracker::new(), run_to_end);
        let handler = async || -> StatusCode { panic!("on purpose") };
        let router = Router::new().route("/", post(handler)).layer(layer);
        let router = router.layer(tower_http::catch_panic::CatchPanicLayer::custom(after_panic));
        let request = Request::post("/").body(Body::empty()).expect("is one");
        let response = TowerToHyperService::new(router).call(request).await.expect("answers");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_times_out() {
        let router = Router::new().route("/", post(async |_: Bytes| "read")).layer(from_fn(in_time));
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::post("/").body(Body::from_stream(never)).expect("is one");
        let began = tokio::time::Instant::now();
        let response = TowerToHyperService::new(router).call(request).await.expect("answers");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), HANDLER_TIMEOUT);
    }
}
