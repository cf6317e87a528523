//! The two hooks of nginx-rtmp, for who keeps an nginx in front: may this key publish, and, it stopped.
//!
//! The module reads little of HTTP: a status from 200 to 299 lets the publisher in, a redirect would *rename* the stream,
//! and without `Connection: close` it waits ten seconds. So: no redirects here, and the connection ends.

use axum::{
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::form_urlencoded;

use super::{Ctx, error::Problem, extract};

const CLOSE: [(HeaderName, &str); 1] = [(header::CONNECTION, "close")];

/// Asks whether a stream key may publish. Takes `name` from the form or from the query, as nginx-rtmp's `on_publish`
/// sends it with either `notify_method` (so GET works as well).
#[utoipa::path(
    post, path = "/api/streams/on_publish", tag = "hooks", operation_id = "onPublish", security(()),
    params(("name" = Option<String>, Query, description = "The stream key")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`name=KEY`"),
    responses(
        (status = 200, description = "The key is known", content_type = "text/plain", body = String),
        (status = 403, description = "`unknown_stream_key`", body = Problem),
    )
)]
pub(super) async fn on_publish(State(ctx): State<Ctx>, request: Request) -> Response {
    let answer = match admit(&ctx, request).await {
        Ok(()) => "ok".into_response(),
        Err(problem) => problem.into_response(),
    };
    (CLOSE, answer).into_response()
}

async fn admit(ctx: &Ctx, request: Request) -> Result<(), Problem> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = extract::body(request, ctx).await?;
    let known = match stream_key(&query, &String::from_utf8_lossy(&body)) {
        Some(key) => ctx.store.project_by_stream_key(&key).await?.is_some(),
        None => false,
    };
    if known {
        return Ok(());
    }
    let detail = "No project has this stream key. Copy it again from the project's page.";
    Err(Problem::new(StatusCode::FORBIDDEN, "unknown_stream_key", detail))
}

/// Hears that a publisher left. Always 200, and nothing else happens: nginx-rtmp sends this also for a second publisher
/// that it refused, with the name of the stream that goes on.
#[utoipa::path(
    post, path = "/api/streams/on_publish_done", tag = "hooks", operation_id = "onPublishDone", security(()),
    responses((status = 200, description = "Heard", content_type = "text/plain", body = String))
)]
pub(super) async fn on_publish_done() -> Response {
    (CLOSE, "ok").into_response()
}

/// The key among what nginx-rtmp sends.
///
/// A plain `name=KEY` in the query counts first, unless the query has a `$`: nginx does not expand its variables there,
/// and `name=$name` arrives as it stands. Then the form counts.
fn stream_key(query: &str, form: &str) -> Option<String> {
    match (name(query), name(form)) {
        (Some(_), Some(form)) if has_variable(query) => Some(form),
        (query, form) => query.or(form),
    }
}

fn has_variable(query: &str) -> bool {
    query.contains('$') || query.contains("%24")
}

/// The first `name` behind `call`, or the first at all. nginx-rtmp writes `call=publish&name=KEY&type=live` and then,
/// raw, whatever the publisher wrote behind its key, which may be another `name`. Before that, with `notify_method get`,
/// it appends `?app=live&…` to a query that is there already, which spoils the `name` in it.
fn name(pairs: &str) -> Option<String> {
    let value = |(key, value): (_, std::borrow::Cow<'_, str>)| (key == "name").then(|| value.into_owned());
    let parse = || form_urlencoded::parse(pairs.as_bytes());
    let behind_call = parse().skip_while(|(key, _)| key != "call").find_map(value);
    behind_call.or_else(|| parse().find_map(value)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_nginx_means_counts() {
        let nginx = "app=live&flashver=&tcurl=rtmp://h/live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live";
        for (query, form) in [
            ("", "name=KEY"),
            ("name=KEY", ""),
            ("name=KEY", "name=KEY"),
            ("", nginx),
            // The directive's own variable is not expanded.
            ("name=$name", nginx),
            ("name=%24name", nginx),
            // The publisher writes another name behind its key.
            ("", &format!("{nginx}&name=OTHER&call=publish")),
            // `notify_method get`, on a bare path and on one with a query.
            (nginx, ""),
            (&format!("name=x?{nginx}"), ""),
            (&format!("name=x?{nginx}&name=OTHER"), ""),
            ("a=b&name=KEY", "other=1"),
            ("name=", "name=KEY"),
        ] {
            assert_eq!(stream_key(query, form).as_deref(), Some("KEY"), "query {query}, form {form}");
        }
    }

    #[test]
    fn escapes_are_undone_and_nothing_is_nothing() {
        assert_eq!(stream_key("", "call=publish&name=a%20b%26c").as_deref(), Some("a b&c"));
        for (query, form) in [("", ""), ("name=", "name="), ("key=KEY", "call=publish"), ("", "{\"name\":\"KEY\"}")] {
            assert_eq!(stream_key(query, form), None, "{query} {form}");
        }
    }
}
