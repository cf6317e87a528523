//! The two hooks of nginx-rtmp, for who keeps an nginx in front: may this key publish, and, it stopped. Where the stream is
//! pulled from that nginx, they also say when.
//!
//! The module reads little of HTTP: a status from 200 to 299 lets the publisher in, a redirect would *rename* the stream,
//! and without `Connection: close` it waits ten seconds. So: no redirects here, and the connection ends.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use gostream_engine::{spec::ProjectId, status::PullState};
use gostream_store::Project;
use url::form_urlencoded;

use super::{Ctx, error::Problem, extract};
use crate::fronts::{Left, Play, Publisher};

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
    let notice = Notice::read(ctx, request).await?;
    let Some(project) = notice.project(ctx).await? else {
        let detail = "No project has this stream key. Copy it again from the project's page.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "unknown_stream_key", detail));
    };
    if project.pull_url.is_some() {
        let id = ProjectId(project.id);
        let status = ctx.engine.pull_status(id).unwrap_or_default();
        let play = Play { is_live: status.state == PullState::Live, plays: status.plays };
        ctx.fronts.published(project.id, notice.publisher, play, Instant::now());
        ctx.engine.pull_published(id);
    }
    Ok(())
}

/// Hears that a publisher left; always 200. Where the project's stream is pulled from the server that tells it, and it is the
/// publisher that is played, the stream ends as if its encoder had stopped here. nginx-rtmp sends this also for a second
/// publisher that it refused, with the name of the stream that goes on.
#[utoipa::path(
    post, path = "/api/streams/on_publish_done", tag = "hooks", operation_id = "onPublishDone", security(()),
    params(("name" = Option<String>, Query, description = "The stream key")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`name=KEY`"),
    responses((status = 200, description = "Heard", content_type = "text/plain", body = String))
)]
pub(super) async fn on_publish_done(State(ctx): State<Ctx>, request: Request) -> Response {
    // The module reads no answer. What we miss while the database is away shows when no more media comes.
    if let Err(problem) = part(&ctx, request).await {
        tracing::debug!(?problem, "The end of a publisher in front was not understood.");
    }
    (CLOSE, "ok").into_response()
}

async fn part(ctx: &Ctx, request: Request) -> Result<(), Problem> {
    let notice = Notice::read(ctx, request).await?;
    let Some(project) = notice.project(ctx).await?.filter(|project| project.pull_url.is_some()) else {
        return Ok(());
    };
    match ctx.fronts.left(project.id, &notice.publisher) {
        Left::Another => {}
        Left::Succeeded => ctx.engine.pull_published(ProjectId(project.id)),
        Left::Last => ctx.engine.pull_unpublished(ProjectId(project.id)),
    }
    Ok(())
}

/// What a hook tells.
struct Notice {
    key: Option<String>,
    publisher: Publisher,
}

impl Notice {
    async fn read(ctx: &Ctx, request: Request) -> Result<Self, Problem> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let form = String::from_utf8_lossy(&extract::body(request, ctx).await?).into_owned();
        Ok(Self { key: stream_key(&query, &form), publisher: publisher(&query, &form) })
    }

    async fn project(&self, ctx: &Ctx) -> Result<Option<Project>, Problem> {
        match &self.key {
            Some(key) => Ok(ctx.store.project_by_stream_key(key).await?),
            None => Ok(None),
        }
    }
}

/// The connection that is meant. The module writes `addr` and `clientid` in front of `call`, and what the publisher wrote
/// behind it.
fn publisher(query: &str, form: &str) -> Publisher {
    let pairs = if form.contains("call=") { form } else { query };
    let value = |name: &str| {
        let mut own = form_urlencoded::parse(pairs.as_bytes()).take_while(|(key, _)| key != "call");
        own.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    Publisher::Known(value("addr"), value("clientid"))
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
    fn the_connection_is_the_one_that_nginx_names() {
        let nginx = "app=live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live&clientid=18&addr=4.3.2.1&call=x";
        for (query, form) in [("", nginx), ("name=$name", nginx), (nginx, ""), ("addr=9.9.9.9&clientid=1", nginx)] {
            let meant = Publisher::Known("1.2.3.4".to_owned(), "17".to_owned());
            assert_eq!(publisher(query, form), meant, "{query} {form}");
        }
        // One whose server writes none of it must not get one by what it writes behind its key.
        let bare = "call=publish&name=KEY&clientid=17&addr=1.2.3.4";
        assert_eq!(publisher("", bare), Publisher::Known(String::new(), String::new()));
    }

    #[test]
    fn escapes_are_undone_and_nothing_is_nothing() {
        assert_eq!(stream_key("", "call=publish&name=a%20b%26c").as_deref(), Some("a b&c"));
        for (query, form) in [("", ""), ("name=", "name="), ("key=KEY", "call=publish"), ("", "{\"name\":\"KEY\"}")] {
            assert_eq!(stream_key(query, form), None, "{query} {form}");
        }
    }
}
