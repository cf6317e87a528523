//! A minimal HTTP client, enough to set up a server.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Api {
    /// The server's address.
    pub address: SocketAddr,
    /// The API token.
    pub token: String,
}

impl Api {
    /// Sends JSON and returns the response's JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.send("POST", path, &body.to_string()).await?;
        if !(200..300).contains(&status) {
            bail!("{path} answers {status}: {answer}");
        }
        serde_json::from_slice(&answer.into_bytes()).context("the answer is no JSON")
    }

    /// Status and body of a response.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        self.send("GET", path, "").await
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json\r\n\
             authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        Ok((status, body.to_owned()))
    }
}
