//! A small HTTP client for tests, also used by the end-to-end tests.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HeaderMap,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use gostream_testkit::PATIENCE;

/// A request to be sent.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Call {
    pub fn new(method: &str, path: &str) -> Self {
        let method = method.to_uppercase().parse().unwrap();
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", &value.to_string())
    }

    pub fn body(mut self, kind: &str, text: &str) -> Self {
        self.body = Bytes::from(text.to_owned());
        if kind.is_empty() { self } else { self.header("content-type", kind) }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The JSON of a response with this status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub fn empty(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.body.is_empty(), "{}", self.text());
    }

    /// The problem document of a response with this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{problem}");
        problem
    }

    /// A 422 problem for exactly these fields.
    #[track_caller]
    pub fn bad_fields(&self, fields: &[&str]) -> Value {
        let problem = self.problem(422, "validation_failed");
        let named: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{problem}");
        assert!(
            problem["errors"]
                .as_array()
                .unwrap()
                .iter()
                .all(|error| error["message"].as_str().unwrap().ends_with('.'))
        );
        problem
    }
}

/// A client of one server, optionally logged in.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Client {
    pub async fn send(&self, call: Call) -> Reply {
        let response = self.open(call).await;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn open(&self, call: Call) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(call.method).uri(call.path);
        if !call.headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body)).unwrap();
        timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Call::new("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        let call = Call::new("POST", path);
        self.send(if body.is_null() { call } else { call.json(&body) }).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Call::new("PATCH", path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Call::new("DELETE", path)).await
    }

    /// Opens an event stream.
    pub async fn events(&self, path: &str) -> Events {
        let (status, events) = self.try_events(path).await;
        assert_eq!(status, 200);
        events
    }

    /// The same, where the server may refuse; a refusal is not an event stream.
    pub async fn try_events(&self, path: &str) -> (u16, Events) {
        let response = self.open(Call::new("GET", path)).await;
        let status = response.status().as_u16();
        if status == 200 {
            let headers = response.headers();
            assert_eq!(headers["content-type"], "text/event-stream");
            // Both prevent proxies from buffering events.
            assert_eq!(
                (&headers["cache-control"], &headers["x-accel-buffering"]),
                (&"no-store, no-transform".parse().unwrap(), &"no".parse().unwrap())
            );
        }
        (status, Events { body: response.into_body(), text: String::new() })
    }

    /// Sends raw bytes and reads until the server closes.
    pub async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the server does not close")
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// An open event stream.
pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The next event's name and data, without heartbeats; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let event = self.any().await?;
            if event.0 != "heartbeat" {
                return Some(event);
            }
        }
    }

    /// The next event, including heartbeats.
    pub async fn any(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(data) = field("data:") {
                    let name = field("event:").unwrap_or_default().to_owned();
                    return Some((name, serde_json::from_str(data).unwrap()));
                }
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("no event came")?.ok()?;
            self.text += &String::from_utf8_lossy(frame.data_ref()?);
        }
    }

    /// Reads until a project satisfies `wanted`.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = timeout(PATIENCE, async {
            while let Some((_, project)) = self.next().await {
                if wanted(&project) {
                    return Some(project);
                }
                last = project;
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no event matched; the last was {last:#}"))
    }

    /// Reads until the server ends the stream.
    pub async fn ended(&mut self) {
        let ended = async { while self.next().await.is_some() {} };
        timeout(PATIENCE, ended).await.expect("the events do not end");
    }
}
