//! The OpenAPI document, and a readable page. The page is rendered once from the document, and has no scripts and no
//! external resources.

use std::fmt::Write as _;

use axum::{
    Router,
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::Value;
use utoipa::openapi::{
    Components, Content, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, Schema, SecurityRequirement, Server,
    path::Operation,
    response::ResponseBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use super::error::{PROBLEM_TYPE, Problem};
use crate::web;

const TAGS: [(&str, &str); 6] = [
    ("auth", "Accounts and logins."),
    ("projects", "Projects with their streams and events."),
    ("destinations", "Destinations and their relays."),
    ("hls", "Playlists and media for players."),
    ("hooks", "Hooks for an upstream nginx-rtmp."),
    ("health", "Health checks."),
];

/// The document without its paths.
pub(super) fn frame() -> OpenApi {
    let mut info = Info::new("GoStream", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "One live stream in, every platform out. Errors are RFC 9457 problem documents with a stable `code`; \
         objects of other users answer 404. Times are UTC (RFC 3339), ids are UUIDs."
            .to_owned(),
    );
    info.license = Some(License::new("Apache-2.0"));
    let mut components = Components::new();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let about = "Set by login, for the page; over plain HTTP its name is `gostream_session`. Requests that make changes must come from the same origin.";
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description("__Host-gostream_session", about));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    let none: [&str; 0] = [];
    let mut api = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .components(Some(components))
        .security(Some([SecurityRequirement::new("bearer", none), SecurityRequirement::new("cookie", none)]))
        .tags(Some(TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())))
        .build();
    // Every error response uses this schema, but the routes only mention its name.
    let mut schemas = Vec::new();
    <Problem as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push(("Problem".to_owned(), <Problem as utoipa::PartialSchema>::schema()));
    if let Some(components) = &mut api.components {
        components.schemas.extend(schemas);
    }
    api
}

/// Adds what the routes leave out: problem documents as content of errors, a description for every response, and the
/// refusal of changes with a read-only token.
pub(super) fn finish(mut api: OpenApi) -> OpenApi {
    let items = api.paths.paths.values_mut();
    let operations = items.flat_map(|item| {
        let changing =
            [&mut item.post, &mut item.patch, &mut item.delete].map(|operation| (Effect::Changes, operation));
        changing.into_iter().chain([(Effect::Reads, &mut item.get)])
    });
    for (effect, operation) in operations {
        let Some(operation) = operation else { continue };
        add_refusals(effect, operation);
        for response in operation.responses.responses.values_mut() {
            let RefOr::T(response) = response else { continue };
            if response.description.is_empty() {
                response.description = "Done".to_owned();
            }
            let is_problem = |content: &RefOr<Content>| match content {
                RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => schema.ref_location.ends_with("/Problem"),
                _ => false,
            };
            if response.content.values().any(is_problem) {
                let contents = std::mem::take(&mut response.content).into_values();
                response.content = contents.map(|content| (PROBLEM_TYPE.to_owned(), content)).collect();
            }
        }
    }
    api
}

/// The effect of an operation, derived from its method.
enum Effect {
    Reads,
    Changes,
}

/// Adds the refusals that happen before any handler runs, unless the route documents the status itself.
fn add_refusals(effect: Effect, operation: &mut Operation) {
    // nginx-rtmp ignores the response of this hook, so it is always the same.
    let is_heard_anyway = operation.operation_id.as_deref() == Some("onPublishDone");
    let needs_login = operation.security.is_none();
    let body = operation.request_body.as_ref().filter(|_| !is_heard_anyway);
    let body = body.map(|body| matches!(body, RefOr::T(body) if body.content.contains_key("application/json")));
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, about: &str| {
        let schema = Ref::from_schema_name("Problem");
        let content = Content::new(Some(RefOr::<Schema>::Ref(schema)));
        let response = ResponseBuilder::new().description(about).content("application/json", content).build();
        responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    };
    if let Some(is_json) = body {
        let about = if is_json { "`malformed_json`, `body_unreadable`" } else { "`body_unreadable`" };
        add("400", about);
        add("413", "`body_too_large`: more than 64 KiB");
        if is_json {
            add("415", "`unsupported_media_type`: not JSON");
            add("422", "`validation_failed`");
        }
    }
    if needs_login {
        let about = "`busy`: too many requests of this account are waiting; `database_unavailable`, `timeout`; with `Retry-After`";
        add("503", about);
    }
    if matches!(effect, Effect::Changes) && needs_login {
        add(
            "403",
            "`bad_origin`: the request has only the cookie and comes from another site; `not_allowed`: the API token is read-only",
        );
    }
    add("500", "`internal`");
    add("503", "`database_unavailable`, `timeout`, with `Retry-After`");
}

/// `/api/openapi.json` and `/api/docs`.
pub(super) fn router<S: Clone + Send + Sync + 'static>(openapi: &OpenApi) -> Router<S> {
    let document = serde_json::to_value(openapi).unwrap_or_default();
    let (json, page): (&'static str, &'static str) = (document.to_string().leak(), page(&document).leak());
    let policy = [(header::CONTENT_SECURITY_POLICY, web::PAGE_POLICY)];
    Router::new()
        .route("/api/openapi.json", get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json) }))
        .route("/api/docs", get(move || async move { (policy, Html(page)).into_response() }))
}

fn page(document: &Value) -> String {
    let mut body = String::from("<h1>GoStream API</h1>");
    body += &paragraph(text(document, "/info/description"));
    body += "<p>The same as JSON: <a href=\"/api/openapi.json\">openapi.json</a>. \
             Log in, then send <code>Authorization: Bearer TOKEN</code>.</p>";
    for (tag, about) in TAGS {
        // Writing to a string does not fail.
        let _ = write!(body, "<h2 id=\"{tag}\">{tag}</h2>{}", paragraph(about));
        let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
        let operations = paths.flat_map(|(path, methods)| {
            methods.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
        });
        for (path, method, operation) in operations.filter(|(_, _, operation)| text(operation, "/tags/0") == tag) {
            body += &section(path, method, operation);
        }
    }
    body += "<h2>Types</h2>";
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
    for (name, schema) in schemas {
        let _ =
            write!(body, "<h3 id=\"{name}\">{name}</h3>{}{}", paragraph(text(schema, "/description")), fields(schema));
    }
    web::page("GoStream API", &body)
}

fn section(path: &str, method: &str, operation: &Value) -> String {
    let mut html = format!("<h3><b>{}</b> <code>{}</code></h3>", method.to_uppercase(), web::escape(path));
    html += &paragraph(text(operation, "/summary"));
    html += &paragraph(text(operation, "/description"));
    html += "<table>";
    for parameter in items(operation, "/parameters") {
        let (name, place) = (text(parameter, "/name"), text(parameter, "/in"));
        html += &row(&format!("{place} <code>{}</code>", web::escape(name)), &inline(text(parameter, "/description")));
    }
    if let Some((kind, media)) = operation.pointer("/requestBody/content").and_then(Value::as_object).and_then(first) {
        html += &row("body", &format!("{} <small>{kind}</small>", type_of(media.get("schema"))));
    }
    for (status, response) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
        let body = response.get("content").and_then(Value::as_object).and_then(first);
        let kind = body.map(|(_, media)| type_of(media.get("schema"))).filter(|kind| !kind.is_empty());
        let about = [kind, Some(inline(text(response, "/description")))].into_iter().flatten().collect::<Vec<_>>();
        html += &row(status, &about.join(" "));
    }
    html + "</table>"
}

fn fields(schema: &Value) -> String {
    if schema.get("enum").is_some() {
        let values = items(schema, "/enum").iter().filter_map(Value::as_str);
        return format!("<p>{}</p>", values.map(|value| format!("<code>{value}</code>")).collect::<Vec<_>>().join(" "));
    }
    let required: Vec<_> = items(schema, "/required").iter().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let rows = properties.map(|(name, property)| {
        let optional = if required.contains(&name.as_str()) { "" } else { " <small>optional</small>" };
        let about = format!("{} {}", type_of(Some(property)), inline(text(property, "/description")));
        row(&format!("<code>{name}</code>{optional}"), &about)
    });
    format!("<table>{}</table>", rows.collect::<String>())
}

/// A short text for a schema, with a link if it has a name.
fn type_of(schema: Option<&Value>) -> String {
    let Some(schema) = schema else { return String::new() };
    if let Some(name) = text(schema, "/$ref").rsplit('/').next().filter(|name| !name.is_empty()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    let choices = [items(schema, "/oneOf"), items(schema, "/allOf"), items(schema, "/anyOf")].concat();
    if !choices.is_empty() {
        return choices.iter().map(|choice| type_of(Some(choice))).collect::<Vec<_>>().join(" | ");
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        Some(Value::String(kind)) if kind == "array" => format!("[{}]", type_of(schema.get("items"))),
        Some(Value::String(kind)) => kind.clone(),
        _ => String::new(),
    };
    match text(schema, "/format") {
        format @ ("date-time" | "uuid") => kind.replace("string", format),
        _ => kind,
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn first(map: &serde_json::Map<String, Value>) -> Option<(&String, &Value)> {
    map.iter().next()
}

fn row(head: &str, cell: &str) -> String {
    format!("<tr><th>{head}</th><td>{cell}</td></tr>")
}

fn paragraph(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p>{}</p>", inline(text)) }
}

/// Text with code elements for the parts between backticks.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => web::escape(part),
        _ => format!("<code>{}</code>", web::escape(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use serde_json::Value;

    use super::PROBLEM_TYPE;

    fn document() -> Value {
        serde_json::to_value(crate::api::document()).expect("serializes")
    }

    /// Client generators fail on each of these faults.
    #[test]
    fn client_generators_can_read_the_document() {
        let document = document();
        let mut ids = HashSet::new();
        for operation in document["paths"]
            .as_object()
            .expect("paths")
            .values()
            .flat_map(|item| item.as_object().expect("methods").values())
        {
            assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{operation}");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
                let content = response["content"].as_object().map(|content| content.keys().collect::<Vec<_>>());
                assert!(status.starts_with('2') || content == Some(vec![&PROBLEM_TYPE.to_owned()]), "{operation}");
            }
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(reference).is_some(), "{reference} is not defined");
        }
        let stream = &document["components"]["schemas"]["Stream"]["required"];
        assert!(stream.as_array().is_some_and(|fields| fields.contains(&Value::from("endedAt"))), "null, but present");
    }

    /// Other programs, and the page's client, are generated from the copy.
    #[test]
    fn the_committed_copy_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let current = format!("{:#}\n", document());
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            fs::write(&path, &current).expect("written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == current, "docs/openapi.json is old: run the tests once with UPDATE_OPENAPI=1");
    }

    #[test]
    fn refusals_before_the_handler_are_documented() {
        let document = document();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let answers = operation["responses"].as_object().expect("answers");
                let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
                for status in ["400", "413", "415", "422"] {
                    let is_there = answers.contains_key(status);
                    assert!(is_there || !takes_json, "{status} of {method} {path}");
                    let kind = &answers.get(status).unwrap_or(&Value::Null)["content"];
                    assert!(!is_there || kind.get(PROBLEM_TYPE).is_some(), "{status} of {method} {path}");
                }
                assert!(answers.contains_key("503"), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_operation_is_on_the_page_and_has_a_sentence() {
        let document = document();
        let page = super::page(&document);
        let mut operations = 0;
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations += 1;
                let head = format!("<b>{}</b> <code>{path}</code>", method.to_uppercase());
                assert!(page.contains(&head), "{method} {path}");
                assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}");
            }
        }
        assert!(operations >= 20, "{operations}");
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://cdn"));
    }
}
