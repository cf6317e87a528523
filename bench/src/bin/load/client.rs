//! An HTTP client that behaves like browsers: connections are reused, and each visitor has an address of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One visitor.
#[derive(Clone, Debug)]
pub struct Client {
    server: SocketAddr,
    /// The client address, sent in a proxy header; login limits are per address.
    address: String,
    token: String,
    /// Idle connections of all visitors.
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Client {
    /// A visitor who is not logged in.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, address: "192.0.2.1".to_owned(), token: String::new(), idle: Arc::default() }
    }

    /// Another visitor that shares the connections.
    pub fn visitor(&self, number: usize) -> Self {
        Self { address: format!("198.51.100.{number}"), ..self.clone() }
    }

    /// The same visitor, logged in.
    pub fn logged_in(self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self }
    }

    /// The body of a successful response.
    pub async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.send("GET", path, "").await
    }

    /// The JSON of a successful response.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.send("POST", path, &body.to_string()).await?)?)
    }

    /// Sends a PATCH request.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.send("PATCH", path, &body.to_string()).await.map(drop)
    }

    /// Opens an event stream, waits for the first event, and closes it.
    pub async fn first_event(&self, path: &str) -> anyhow::Result<()> {
        let work = async {
            let (_, mut response) = self.open("GET", path, "").await?;
            let frame = response.body_mut().frame().await.context("no event came")??;
            frame.data_ref().map(drop).context("no event came")
        };
        timeout(PATIENCE, work).await?
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Bytes> {
        let work = async {
            let (connection, response) = self.open(method, path, body).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            if !status.is_success() {
                bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
            }
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(bytes)
        };
        timeout(PATIENCE, work).await?
    }

    async fn open(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(SendRequest<Full<Bytes>>, Response<Incoming>)> {
        let mut connection = self.connection().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", self.server.to_string());
        request = request.header("x-forwarded-for", &self.address);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let response = connection.send_request(request).await?;
        Ok((connection, response))
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut connection) = idle else { break };
            // The server may have closed the connection.
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let (connection, task) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(task);
        Ok(connection)
    }
}
