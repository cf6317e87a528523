//! The HTTP API, with a table of all routes.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate as _},
    },
    cors::{Any, CorsLayer},
};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::context::Ctx;
pub(crate) use self::{context::Context, event_streams::EventStreams, request_queues::RequestQueues};
use crate::web;

mod auth;
mod commands;
mod context;
mod cookie;
mod destinations;
mod docs;
mod error;
mod event_streams;
mod events;
mod extract;
mod field;
mod health;
mod hls;
mod hooks;
mod layers;
mod login;
mod password;
mod password_attempts;
mod projects;
mod recipient;
mod request_queues;
mod revoke;
mod sessions;
mod streams;
mod tokens;
mod view;

pub(crate) use field::email;

/// The largest request body. Keys and URLs have a few kilobytes at most.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The routes of the API, with their OpenAPI document.
fn routes() -> OpenApiRouter<Ctx> {
    OpenApiRouter::with_openapi(docs::frame())
        .routes(routes!(auth::signup))
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(password::change))
        .routes(routes!(sessions::visitor))
        .routes(routes!(sessions::list, sessions::end_all))
        .routes(routes!(sessions::end))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(tokens::audit))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::show, projects::change, projects::delete))
        .routes(routes!(projects::rotate_stream_key))
        .routes(routes!(projects::rotate_playback_id))
        .routes(routes!(projects::end_stream))
        .routes(routes!(streams::list))
        .routes(routes!(streams::show))
        .routes(routes!(events::follow))
        .routes(routes!(destinations::create))
        .routes(routes!(destinations::change, destinations::delete))
        .routes(routes!(destinations::start))
        .routes(routes!(destinations::stop))
        .routes(routes!(destinations::retry))
        .routes(routes!(destinations::test))
        .routes(routes!(health::platforms))
        .routes(routes!(hooks::on_publish))
        .routes(routes!(hooks::on_publish_done))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// The routes for players.
fn hls_routes() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new().routes(routes!(hls::classic)).routes(routes!(hls::by_playback_id))
}

/// The OpenAPI document of all routes.
fn document() -> OpenApi {
    docs::finish(routes().merge(hls_routes()).into_openapi())
}

/// CORS for players, which run in pages of any site. The ids in the paths control access.
fn any_site() -> CorsLayer {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::HEAD]).allow_headers(Any);
    cors.expose_headers([header::CONTENT_LENGTH, header::DATE, HeaderName::from_static("age")])
}

/// Overrides the resource policy, so that pages of any site can embed the response.
async fn readable(mut response: Response) -> Response {
    response.headers_mut().insert(layers::RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

/// Other spellings of the hooks. nginx-rtmp may also use GET, and a redirect to the right spelling would rename the
/// stream.
fn hook_spellings() -> Router<Ctx> {
    Router::new()
        .route("/api/streams/on_publish", get(hooks::on_publish))
        .route("/api/streams/on_publish/", post(hooks::on_publish).get(hooks::on_publish))
        .route("/api/streams/on_publish_done", get(hooks::on_publish_done))
        .route("/api/streams/on_publish_done/", post(hooks::on_publish_done).get(hooks::on_publish_done))
}

/// The fallback for unknown paths: the dashboard, whose router handles the paths of the page.
async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let ours = ["/api", "/hls", "/healthz", "/readyz"].iter().any(|own| path.starts_with(own));
    if ours || !matches!(method, Method::GET | Method::HEAD) {
        return layers::no_such_route().await.into_response();
    }
    match web::dashboard::answer(path, &headers) {
        Some(response) => response,
        None if path == "/" => web::bare(),
        None => layers::no_such_route().await.into_response(),
    }
}

/// The router of the HTTP port.
pub(crate) fn router(ctx: Arc<Context>) -> Router {
    let (router, _) = routes().split_for_parts();
    let (hls, _) = hls_routes().split_for_parts();
    let compressible = DefaultPredicate::new().and(NotForContentType::const_new("video/"));
    router
        .merge(hook_spellings())
        // Handlers run to their end, even if the client disconnects.
        .layer(axum::middleware::from_fn_with_state(ctx.handlers.clone(), layers::run_to_end))
        .merge(docs::router(&document()))
        .fallback(page)
        .method_not_allowed_fallback(layers::no_such_method)
        // These routes come after the CORS layer, so that it responds to preflights before another layer refuses
        // `OPTIONS`.
        .merge(
            hls.method_not_allowed_fallback(layers::no_such_method)
                .layer(any_site())
                .layer(map_response(readable)),
        )
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(layers::in_time))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(CatchPanicLayer::custom(layers::after_panic))
        .layer(axum::middleware::from_fn_with_state(ctx.clone(), layers::observe))
        .with_state(ctx)
}
