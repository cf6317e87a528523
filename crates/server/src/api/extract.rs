//! What handlers take out of a request, each refusing with a [`Problem`]: JSON bodies, ids in paths, queries, links.

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

/// From when the handler wants it. The largest that is taken needs 13 kB/s by then, a usual one of some hundred bytes very little.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A JSON body. Unknown fields are refused by the types themselves.
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
    let unreadable = || Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "The body did not arrive whole.");
    // The handler waits for it by itself: its client may have been told long ago that it took too long.
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

/// A JSON object. serde takes an array for a struct as well, its fields in the order of our code.
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
    // The position means little to a person who filled in a form.
    let sentence = text.split(" at line ").next().unwrap_or_default();
    let field = match path {
        "." => sentence.split('`').nth(1).filter(|_| names_a_field(sentence)).unwrap_or("body"),
        path => path,
    };
    let mut letters = sentence.chars();
    let sentence: String = letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect();
    Problem::field(field, format!("{sentence}."))
}

/// Whether the parser's words tell which field it is where the path does not.
fn names_a_field(sentence: &str) -> bool {
    sentence.starts_with("missing field") || sentence.starts_with("duplicate field")
}

/// The `{id}` of a path. Anything but a UUID names nothing.
pub(super) struct Id(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        Uuid::try_parse(&text).map(Self).map_err(|_| Problem::not_found())
    }
}

/// The query, by name.
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

/// The base of the links in an answer: `public_url`, or what the request says about where it went.
pub(super) struct Links {
    /// Without a slash at the end.
    base: String,
    /// Name or address without port; IPv6 in brackets.
    host: String,
    /// `:port`, or nothing where it is RTMP's own.
    rtmp_port: String,
    /// Who asks.
    pub(super) client: Option<IpAddr>,
}

impl Links {
    /// Under our web address.
    pub(super) fn web(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What goes into the encoder's "server" field.
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

/// Where the request went: HTTP/2 says it in the URI, HTTP/1 in `Host`. User info has no place there.
pub(super) fn authority(parts: &Parts) -> Option<Authority> {
    let header = || parts.headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    parts.uri.authority().cloned().or_else(header).filter(|authority| !authority.as_str().contains('@'))
}

/// Whether the browser's end of the connection is HTTPS, here or at a trusted proxy.
pub(super) fn is_secure(parts: &Parts, ctx: &Ctx) -> bool {
    let proxied = || from_proxy(parts, "x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    ctx.tls || ctx.public_url.as_ref().is_some_and(|url| url.scheme() == "https") || proxied()
}

/// The client's address. A trusted proxy is believed about whom it speaks for, and if that is another trusted proxy, so is
/// that one: the chain is walked from its end to the first address that is no proxy. What is before it comes from the
/// client.
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

/// The last entry of a forwarding header, if the peer is a trusted proxy: earlier entries come from the client.
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
    async fn a_body_that_does_not_arrive_is_given_up_soon() {
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
