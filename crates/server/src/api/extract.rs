//! Extractors for JSON bodies, ids in paths, queries and links. Each refuses a request with a [`Problem`].

use std::{fmt, marker::PhantomData, net::IpAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request},
    http::{HeaderMap, StatusCode, header, request::Parts, uri::Authority},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{context::Ctx, error::Problem};
use crate::listen::{Peer, Proxies};

/// How long the body may take once the handler reads it. The largest body needs 13 kB/s; usual ones have some hundred
/// bytes.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON body. The types of the bodies refuse unknown fields.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "Send JSON, with `Content-Type: application/json`.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        parse(&body(request, state).await?).map(Self)
    }
}

/// The whole body, up to the limit of the router.
pub(super) async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let unreadable = || Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "The body did not arrive completely.");
    // The handler needs a timeout of its own: it continues after the request's timeout.
    let arrived = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await.map_err(|_| unreadable())?;
    arrived.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than 64 KiB.")
        }
        _ => unreadable(),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        problem(error.inner(), &path)
    })?;
    deserializer.end().map_err(|error| problem(&error, "."))?;
    Ok(value)
}

/// A JSON object. serde would also accept an array for a struct, with the fields in the order of the code.
struct Object<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

fn problem(error: &serde_json::Error, path: &str) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        return Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("The body is not JSON: {text}."));
    }
    // The position is useless to a user who filled in a form.
    let sentence = text.split(" at line ").next().unwrap_or_default();
    let field = match path {
        "." => sentence.split('`').nth(1).filter(|_| names_a_field(sentence)).unwrap_or("body"),
        path => path,
    };
    let mut letters = sentence.chars();
    let sentence: String = letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect();
    Problem::field(field, format!("{sentence}."))
}

/// Whether the parser's message names the field, for errors without a path.
fn names_a_field(sentence: &str) -> bool {
    sentence.starts_with("missing field") || sentence.starts_with("duplicate field")
}

/// The `{id}` of a path. A text that is not a UUID is not found.
pub(super) struct Id(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        Uuid::try_parse(&text).map(Self).map_err(|_| Problem::not_found())
    }
}

/// The query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AxumQuery(value) = AxumQuery::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::field("query", format!("{}.", rejection.body_text())))?;
        Ok(Self(value))
    }
}

/// The base of the links in a response: `public_url`, or the host of the request.
pub(super) struct Links {
    /// The base URL without a trailing slash.
    base: String,
    /// The name or address without a port; IPv6 in brackets.
    host: String,
    /// `:port`, or empty for the default port of RTMP.
    rtmp_port: String,
    /// The client's address.
    pub(super) client: Option<IpAddr>,
}

impl Links {
    /// A URL of this server's web pages.
    pub(super) fn web(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The URL for the encoder's "server" field.
    pub(super) fn ingest(&self) -> String {
        format!("rtmp://{}{}/live", self.host, self.rtmp_port)
    }
}

impl FromRequestParts<Ctx> for Links {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Self::Rejection> {
        let rtmp_port = match ctx.rtmp_port {
            1935 => String::new(),
            port => format!(":{port}"),
        };
        let client = client_address(parts);
        if let Some(url) = &ctx.public_url {
            let base = url.as_str().trim_end_matches('/').to_owned();
            return Ok(Self { base, host: url.host_str().unwrap_or_default().to_owned(), rtmp_port, client });
        }
        let scheme = if is_secure(parts, ctx) { "https" } else { "http" };
        let authority = authority(parts);
        let host = authority.as_ref().map_or("localhost", Authority::host).to_owned();
        let base = match &authority {
            Some(authority) => format!("{scheme}://{authority}"),
            None => format!("{scheme}://localhost"),
        };
        Ok(Self { base, host, rtmp_port, client })
    }
}

/// The host of the request: from the URI in HTTP/2, from `Host` in HTTP/1. Hosts with user info are ignored.
pub(super) fn authority(parts: &Parts) -> Option<Authority> {
    let header = || parts.headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    parts.uri.authority().cloned().or_else(header).filter(|authority| !authority.as_str().contains('@'))
}

/// Whether the client connects over HTTPS, to this server or to a trusted proxy.
pub(super) fn is_secure(parts: &Parts, ctx: &Ctx) -> bool {
    let proxied = || from_proxy(parts, "x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    ctx.tls || ctx.public_url.as_ref().is_some_and(|url| url.scheme() == "https") || proxied()
}

/// The client's address. If the peer is a trusted proxy, the chain of `X-Forwarded-For` is followed from its end to the
/// first address that is not a trusted proxy. Entries before that one come from the client and are ignored.
pub(super) fn client_address(parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?;
    let own = peer.address.ip().to_canonical();
    let Some(proxies) = parts.extensions.get::<Proxies>().filter(|_| peer.is_proxy) else { return Some(own) };
    let headers = parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = headers.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut client = own;
    for entry in chain.into_iter().rev() {
        let Ok(address) = entry.parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !proxies.contains(client) {
            break;
        }
    }
    Some(client)
}

/// The last entry of a forwarding header, if the peer is a trusted proxy. Earlier entries come from the client.
fn from_proxy<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let is_proxy = parts.extensions.get::<Peer>().is_some_and(|peer| peer.is_proxy);
    let value = parts.headers.get_all(name).iter().next_back().filter(|_| is_proxy)?;
    value.to_str().ok()?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_times_out_early() {
        for begins in [false, true] {
            let some = futures::stream::iter(begins.then(|| Ok::<_, std::io::Error>(Bytes::from_static(b"{"))));
            let never = futures::StreamExt::chain(some, futures::stream::pending());
            let request = Request::post("/").body(Body::from_stream(never)).expect("is one");
            let begun = Instant::now();
            let problem = body(request, &()).await.expect_err("does not arrive");
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
            assert_eq!(begun.elapsed(), BODY_TIMEOUT);
        }
    }
}
