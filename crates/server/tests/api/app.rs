//! The real server with its own data directory.

use std::process::Stdio;

use gostream::{app::App, config};
use gostream_testkit::postgres::Postgres;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::http::Client;

/// The password of every test account.
pub const PASSWORD: &str = "quiet lamp under rain";

/// A running server.
pub struct TestApp {
    app: App,
    pub client: Client,
    flags: Vec<(&'static str, String)>,
    data: TempDir,
}

impl TestApp {
    /// Starts on free ports, on SQLite unless `flags` select another database.
    pub async fn start(flags: &[(&'static str, &str)]) -> Self {
        let flags = flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
        Self::start_in(TempDir::new().unwrap(), flags, "127.0.0.1:0").await
    }

    async fn start_in(data: TempDir, flags: Vec<(&'static str, String)>, http: &str) -> Self {
        let own = [
            ("data_dir", data.path().to_str().unwrap()),
            ("http.listen", http),
            ("rtmp.listen", "127.0.0.1:0"),
            ("metrics.listen", "127.0.0.1:0"),
            ("egress.allow", "127.0.0.0/8"),
        ];
        let all = own.iter().map(|(key, text)| (*key, (*text).to_owned())).chain(flags.iter().cloned());
        let settings = config::load(all, None, []).unwrap();
        let app = App::start(settings).await.unwrap();
        let client = Client { address: app.http_addr(), token: None };
        Self { app, client, flags, data }
    }

    /// Stops, and starts again with the same data and address.
    pub async fn restart(self) -> Self {
        let Self { app, client, flags, data } = self;
        app.stop().await;
        Self::start_in(data, flags, &client.address.to_string()).await
    }

    /// Starts on a new database of this process's PostgreSQL.
    pub async fn on_postgres() -> Self {
        let url = Postgres::shared().database();
        Self::start(&[("database.url", &url)]).await
    }

    pub fn rtmp(&self) -> std::net::SocketAddr {
        self.app.rtmp_addr()
    }

    pub fn metrics(&self) -> Client {
        Client { address: self.app.metrics_addr().unwrap(), token: None }
    }

    /// Creates an account and returns a client that is logged in.
    pub async fn user(&self, email: &str) -> Client {
        let reply = self.client.post("/api/auth/signup", json!({"email": email, "password": PASSWORD})).await;
        let token = reply.json(201)["token"].as_str().unwrap().to_owned();
        Client { token: Some(token), ..self.client.clone() }
    }

    /// Creates a project and returns it as the API shows it.
    pub async fn project(&self, client: &Client) -> Value {
        client.post("/api/projects", json!({"name": "Sunday service"})).await.json(201)
    }

    /// Runs a `gostream` command on the data of the running server, with `input` on its standard input.
    pub async fn command(&self, arguments: &[&str], input: &str) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gostream"));
        command
            .current_dir(self.data.path())
            .env_clear()
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data.path());
        // Otherwise it would not find this server's database.
        let database = self.flags.iter().find(|(key, _)| *key == "database.url");
        command.args(database.map(|(_, url)| format!("--database-url={url}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub async fn stop(self) {
        self.app.stop().await;
    }
}

/// The text of a field.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A destination in a request.
pub fn destination(url: &str, key: &str) -> Value {
    json!({"platform": "custom", "name": "Hall screen", "rtmpUrl": url, "streamKey": key})
}
