//! The real program: its output and exit status.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gostream_testkit::{PATIENCE, encoder::Encoder, script::Script};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{PASSWORD, destination, text},
    http::Client,
};

const FLAGS: [&str; 4] =
    ["--http-listen=127.0.0.1:0", "--rtmp-listen=127.0.0.1:0", "--metrics-listen=off", "--data-dir=data"];

fn gostream(data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gostream"));
    command.current_dir(data.path()).env_clear().args(FLAGS);
    command
}

fn run(data: &TempDir, arguments: &[&str], input: &str) -> Output {
    let mut command = gostream(data);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running server and the addresses in its banner.
struct Server {
    child: std::process::Child,
    /// Reads its output all the time, so that it never blocks.
    reader: JoinHandle<String>,
    client: Client,
    rtmp: SocketAddr,
}

impl Server {
    fn start(data: &TempDir, arguments: &[&str]) -> Self {
        let mut child = gostream(data).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, printed) = mpsc::sync_channel(64);
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            let mut from = 0;
            while stderr.read_line(&mut all).is_ok_and(|bytes| bytes > 0) {
                // The receiver is gone after the banner.
                let _ = lines.send(all[from..].to_owned());
                from = all.len();
            }
            all
        });
        let line = |part: &str| loop {
            let line = printed.recv_timeout(PATIENCE).expect("the banner");
            if let Some((_, rest)) = line.split_once(part) {
                return rest.trim().to_owned();
            }
        };
        let page = line("Page and API  http://");
        let rtmp = line("RTMP server   rtmp://");
        assert_eq!(line("Data          "), data.path().join("data").to_str().unwrap());
        let client = Client { address: page.parse().unwrap(), token: None };
        Self { child, reader, client, rtmp: rtmp.trim_end_matches("/live").parse().unwrap() }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code and the whole output.
    fn wait(mut self) -> (Option<i32>, String) {
        let said = self.reader.join().unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

#[tokio::test]
async fn every_refusal_is_a_line_for_fail2ban() {
    let data = TempDir::new().unwrap();
    let filter = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/running.md")).unwrap();
    for (format, around) in [("text", " WARN "), ("json", r#""level":"WARN","message":""#)] {
        let server = Server::start(&data, &[&format!("--log-format={format}")]);
        let login = json!({"email": "auth.failed address=192.0.2.1 what=login", "password": PASSWORD});
        server.client.post("/api/auth/login", login).await.problem(401, "invalid_credentials");
        let forged = Client { token: Some("gst_no_such_token".to_owned()), ..server.client.clone() };
        forged.get("/api/projects").await.problem(401, "unauthorized");
        // An ended session counts as a failed login.
        let account = json!({"email": format!("{format}@example.org"), "password": PASSWORD});
        let account = server.client.post("/api/auth/signup", account).await.json(201);
        let ended = Client { token: account["token"].as_str().map(str::to_owned), ..server.client.clone() };
        ended.post("/api/auth/logout", json!({})).await.empty(204);
        ended.get("/api/projects").await.problem(401, "unauthorized");
        let hook = "/api/streams/on_publish?name=no-such-key";
        server.client.get(hook).await.problem(403, "unknown_stream_key");
        assert!(Encoder::publish(server.rtmp, "no-such-key").await.is_err());
        server.signal("TERM");
        let (_, said) = server.wait();
        for what in ["login", "token", "hook", "stream_key"] {
            let line = format!("{around}auth.failed address=127.0.0.1 what={what}");
            assert_eq!(said.matches(&line).count(), 1, "{what}: {said}");
            let begins =
                said.lines().find(|text| text.contains(&line)).unwrap().split_once(&line).unwrap().0.to_owned();
            assert!(!begins.contains("request"), "no client-controlled text comes first: {begins}");
        }
        assert!(!said.contains("192.0.2.1"), "no other address is named: {said}");
        // The documented filter, without regular expression syntax.
        let expression = format!("{around}auth.failed address=<HOST> what=");
        let plain = filter.replace(r"\.", ".").replace(r"\{", "{").replace(r"\s", " ");
        assert!(plain.contains(expression.trim_start()), "{expression}");
    }
}

#[test]
fn bad_settings_stop_the_start_with_one_line() {
    let data = TempDir::new().unwrap();
    for (arguments, line) in [
        (&["--signup=maybe"][..], "gostream: signup (from --signup) takes open or closed, not `maybe`."),
        (&["--config=nowhere.toml"], "gostream: --config takes a readable file; nowhere.toml cannot be read: "),
        (
            &["--rtmps-listen=[::]:1936"],
            "gostream: rtmps.listen needs a certificate: set tls.cert and tls.key, or acme.domains.",
        ),
        (
            &["--acme-domains=a.example", "--tls-cert=a.pem", "--tls-key=b.pem"],
            "gostream: acme.domains and tls.cert exclude each other: ",
        ),
        (&["--acme-domains=*.example.org"], "gostream: acme.domains (from --acme-domains) takes domain names such as "),
        (&["--acme-domains=a.example", "--acme-ca=a.pem"], "gostream: acme.ca: a.pem cannot be used: "),
        (&["--tls-cert=a.pem", "--tls-key=b.pem"], "gostream: tls.cert: a.pem cannot be used: "),
    ] {
        let (code, stderr) = outcome(&run(&data, arguments, ""));
        assert_eq!(code, Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(line), "{stderr}");
    }
    let mut command = gostream(&data);
    let (code, stderr) = outcome(&command.env("GOSTREAM_SINGUP", "open").output().unwrap());
    assert_eq!((code, stderr.lines().count()), (Some(2), 1));
    assert!(stderr.contains("GOSTREAM_SINGUP is not a setting"), "{stderr}");
    std::fs::write(data.path().join("gostream.toml"), "[http]\nlistn = \"x\"\n").unwrap();
    let (code, stderr) = outcome(&run(&data, &["config"], ""));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("gostream.toml: `http.listn` is not a setting"), "{stderr}");
    assert_eq!(outcome(&run(&data, &["--no-such-flag"], "")).0, Some(2));
}

#[test]
fn a_taken_port_is_not_a_bad_setting() {
    let data = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("--http-listen={}", taken.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gostream"));
    let command =
        command
            .current_dir(data.path())
            .env_clear()
            .args([&flag, "--rtmp-listen=127.0.0.1:0", "--metrics-listen=off"]);
    let (code, stderr) = outcome(&command.output().unwrap());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("http.listen: cannot listen on 127.0.0.1:"), "{stderr}");
}

#[test]
fn config_shows_values_and_their_sources() {
    let data = TempDir::new().unwrap();
    std::fs::write(data.path().join("gostream.toml"), "signup = \"closed\"\n").unwrap();
    let output = gostream(&data).arg("config").env("GOSTREAM_LOG", "debug").output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for (value, source) in [
        ("signup = \"closed\"", "# gostream.toml"),
        ("log.level = \"debug\"", "# GOSTREAM_LOG"),
        ("http.listen = \"127.0.0.1:0\"", "# --http-listen"),
        ("ingest.reconnect_grace = \"60s\"", "# default"),
    ] {
        assert!(
            shown.lines().any(|line| line.starts_with(value) && line.ends_with(source)),
            "{value} {source}\n{shown}"
        );
    }
    assert!(!data.path().join("data").exists(), "showing the configuration changes nothing");
}

#[tokio::test]
async fn accounts_and_passwords_are_managed_from_the_command_line() {
    let data = TempDir::new().unwrap();
    let ok = run(&data, &["user", "add", "Me@example.org"], &format!("{PASSWORD}\n"));
    assert_eq!(outcome(&ok), (Some(0), String::new()));
    let (code, stderr) = outcome(&run(&data, &["user", "add", "me@example.org"], PASSWORD));
    assert!(code == Some(1) && stderr.contains("has an account already"), "{stderr}");
    let (code, stderr) = outcome(&run(&data, &["user", "add", "you@example.org"], "12345678\n"));
    assert!(code == Some(1) && stderr.contains("easy to guess"), "{stderr}");
    assert_eq!(outcome(&run(&data, &["user", "add", "nonsense"], PASSWORD)).0, Some(1));
    let (code, stderr) = outcome(&run(&data, &["user", "password", "you@example.org"], PASSWORD));
    assert!(code == Some(1) && stderr.contains("has no account"), "{stderr}");

    let server = Server::start(&data, &[]);
    let log_in = |password: &str| {
        let (client, body) = (server.client.clone(), json!({"email": "me@example.org", "password": password}));
        async move { client.post("/api/auth/login", body).await }
    };
    let session = log_in(PASSWORD).await.json(200);
    let me = Client { token: session["token"].as_str().map(str::to_owned), ..server.client.clone() };
    // Also while the server runs, and existing sessions end.
    let new = "loud lamp under snow";
    assert_eq!(outcome(&run(&data, &["user", "password", "me@example.org"], new)).0, Some(0));
    me.get("/api/auth/me").await.problem(401, "unauthorized");
    log_in(PASSWORD).await.problem(401, "invalid_credentials");
    log_in(new).await.json(200);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn signals_stop_it_cleanly_and_it_starts_quickly() {
    let data = TempDir::new().unwrap();
    for signal in ["TERM", "INT", "QUIT", "USR1", "USR2"] {
        let began = Instant::now();
        let server = Server::start(&data, &[]);
        assert_eq!(server.client.get("/readyz").await.status, 200);
        // 300 ms is the promise for the release build on an idle machine; tests share theirs.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let began = Instant::now();
        server.signal(signal);
        let (code, rest) = server.wait();
        assert_eq!(code, Some(0), "{rest}");
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    }
    let key = std::fs::metadata(data.path().join("data/secret.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

#[tokio::test]
async fn a_database_without_its_newest_changes_is_refused() {
    let data = TempDir::new().unwrap();
    let file = |name: &str| data.path().join("data").join(name);
    let account = json!({"email": "me@example.org", "password": PASSWORD});
    let server = Server::start(&data, &[]);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let server = Server::start(&data, &[]);
    server.client.post("/api/auth/signup", account.clone()).await.json(201);
    server.signal("KILL");
    assert_eq!(server.wait().0, None);

    // The file was copied without its log. Its last write is an hour older than the server's last sign of life.
    let later = time::OffsetDateTime::now_utc().unix_timestamp() + 3_600;
    std::fs::write(file("written"), format!("{later}\n")).unwrap();
    let log = std::fs::read(file("gostream.db-wal")).unwrap();
    assert!(!log.is_empty());
    std::fs::remove_file(file("gostream.db-wal")).unwrap();
    let (code, printed) = outcome(&run(&data, &[], ""));
    assert!(code == Some(1) && printed.contains("gostream.db-wal"), "{printed}");

    // An empty database next to another database's key is not a new server.
    std::fs::rename(file("gostream.db"), file("moved")).unwrap();
    for missing in [true, false] {
        let (code, printed) = outcome(&run(&data, &["user", "add", "other@example.org"], PASSWORD));
        assert!(code == Some(1) && printed.contains("There is no database in"), "{missing}: {printed}");
        std::fs::write(file("gostream.db"), "").unwrap();
    }

    std::fs::rename(file("moved"), file("gostream.db")).unwrap();
    std::fs::write(file("gostream.db-wal"), log).unwrap();
    let server = Server::start(&data, &[]);
    server.client.post("/api/auth/login", account.clone()).await.json(200);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    // After a clean stop everything is in the file, which may be copied alone.
    assert!(!file("gostream.db-wal").exists());
    std::fs::write(file("written"), format!("{later}\n")).unwrap();
    let server = Server::start(&data, &[]);
    server.client.post("/api/auth/login", account).await.json(200);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test]
async fn sighup_does_not_stop_the_server() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&data, &[]);
    server.signal("HUP");
    assert_eq!(server.client.get("/readyz").await.status, 200);
    server.signal("TERM");
    let (code, rest) = server.wait();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("no certificate files to read again"), "{rest}");
}

#[tokio::test]
async fn another_secret_key_is_refused_before_any_change() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&data, &[]);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let (code, stderr) = outcome(&run(&data, &["--secret-key", other], ""));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(!stderr.contains(other));
}

#[test]
fn a_key_that_others_can_read_stops_the_start_with_one_line() {
    let data = TempDir::new().unwrap();
    let path = data.path().join("data/secret.key");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    std::fs::write(&path, key).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (code, printed) = outcome(&run(&data, &[], ""));
    assert_eq!((code, printed.lines().count()), (Some(2), 1), "{printed}");
    assert!(printed.contains("chmod 600") && !printed.contains(key), "{printed}");
}

#[tokio::test]
async fn no_log_line_contains_a_secret() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&data, &["--log-level=trace", "--egress-allow=127.0.0.0/8"]);
    let credentials = json!({"email": "me@example.org", "password": PASSWORD});
    let session = server.client.post("/api/auth/signup", credentials.clone()).await.json(201);
    let token = text(&session["token"]).to_owned();
    let me = Client { token: Some(token.clone()), ..server.client.clone() };
    server.client.post("/api/auth/login", credentials).await.json(200);
    let project = me.post("/api/projects", json!({"name": "x"})).await.json(201);
    let key = text(&project["streamKey"]).to_owned();
    let path = format!("/api/projects/{}", text(&project["id"]));
    // Nothing listens there, so the relay's failure is logged as well.
    let mut wanted = destination("rtmp://127.0.0.1:1/live", "platform-key-123");
    wanted["enabled"] = json!(true);
    me.post(&format!("{path}/destinations"), wanted).await.json(201);

    let mut events = me.events(&format!("{path}/events")).await;
    let wrong = "a-key-that-no-project-has";
    for name in [wrong.to_owned(), format!("{key} {wrong}")] {
        assert!(
            Encoder::publish(server.rtmp, &name).await.is_err() && Encoder::play(server.rtmp, &name).await.is_err()
        );
    }
    let mut encoder = Encoder::publish(server.rtmp, &format!("\t{key} \n")).await.unwrap();
    encoder.send_all(&Script::default().write()).await.unwrap();
    events.until(|project| project["destinations"][0]["relay"]["lastError"] != Value::Null).await;
    for path in [format!("/hls/{key}.m3u8"), format!("/hls/{key}-0.ts"), format!("/hls/{key}-9.ts")] {
        server.client.get(&path).await;
    }
    for (name, status) in [(key.clone(), 200), (format!("%20{key}%0A"), 200), (format!("{wrong}+"), 403)] {
        let hook = format!("/api/streams/on_publish?name={name}");
        assert_eq!(server.client.post(&hook, Value::Null).await.status, status);
    }
    encoder.stop().await.unwrap();
    events.until(|project| project["status"] == "offline").await;

    let secret = std::fs::read_to_string(data.path().join("data/secret.key")).unwrap();
    server.signal("TERM");
    let (code, said) = server.wait();
    assert_eq!(code, Some(0));
    assert!(said.lines().count() > 20, "the log is not empty: {said}");
    for secret in [key.as_str(), wrong, "platform-key-123", PASSWORD, &token, secret.trim(), "$2b$12$"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}
