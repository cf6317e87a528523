//! Clients that disconnect at any point of a request: a change and its audit line exist both or not at all, and a
//! change takes effect.

use std::{collections::BTreeSet, time::Duration};

use gostream_testkit::{PATIENCE, postgres::Postgres};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    app::{PASSWORD, TestApp, destination, text},
    http::Client,
};

/// Requests per cheap route; with the other routes, 300 in total.
const EACH: usize = 28;
/// Requests per route that hashes a password: 60 attempts per address and 10 per account are allowed.
const FEW: usize = 6;
const ANOTHER_PASSWORD: &str = "another lamp in the rain";

/// Sends a request and resets the connection, at one of 32 times.
async fn hang_up(client: &Client, n: usize, method: &str, path: &str, body: &Value) {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let login = client.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{login}{kind}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    // This delay is what the test varies.
    sleep(Duration::from_micros(400 * (n as u64 * 13 % 32))).await;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The audit lines of an account, oldest first.
async fn lines(client: &Client) -> Vec<Value> {
    let mut lines = client.get("/api/auth/audit").await.json(200).as_array().unwrap().clone();
    assert!(lines.len() < 200, "the list is complete");
    lines.reverse();
    lines
}

/// The objects of all lines with one action.
async fn objects(client: &Client, action: &str) -> BTreeSet<String> {
    let lines = lines(client).await;
    lines
        .iter()
        .filter(|line| line["action"] == action)
        .map(|line| text(&line["object"]).to_owned())
        .collect()
}

async fn names(client: &Client, path: &str) -> BTreeSet<String> {
    let found = client.get(path).await.json(200);
    let rows = found.as_array().or_else(|| found["destinations"].as_array()).unwrap();
    rows.iter().map(|row| text(&row["name"]).to_owned()).collect()
}

/// Follows a field through the lines: the old value of each change is the new value of the previous one. Returns the
/// number of changes.
async fn chain(client: &Client, field: &str, from: &str, to: &str) -> usize {
    let (mut is, mut changes) = (from.to_owned(), 0);
    for line in lines(client).await {
        for change in line["changes"].as_array().unwrap() {
            if change["field"] == field && !change["old"].is_null() {
                assert_eq!(change["old"], json!(is), "a change before {line} has no audit line");
                is = text(&change["new"]).to_owned();
                changes += 1;
            }
        }
    }
    assert_eq!(is, to, "the last audit line has the current value");
    changes
}

async fn log_in(app: &TestApp, email: &str) -> Client {
    let account = json!({"email": email, "password": PASSWORD});
    let token = text(&app.client.post("/api/auth/login", account).await.json(200)["token"]).to_owned();
    Client { token: Some(token), ..app.client.clone() }
}

/// One account per changing route, with its objects.
struct Stage {
    renames: (Client, String),
    destinations: (Client, String, String),
    relays: (Client, String, String),
    adds: Client,
    deletes: (Client, Vec<Value>),
    rotates: (Client, Vec<Value>),
    drops: (Client, String, Vec<Value>),
    makes_tokens: Client,
    ends_tokens: (Client, Vec<Value>),
    logs_in: Client,
    logs_out: (Client, Vec<Client>),
    new_password: Vec<Client>,
}

impl Stage {
    async fn set(app: &TestApp) -> Self {
        let account = async |name: &str| app.user(&format!("{name}@example.org")).await;
        let project = async |client: &Client| format!("/api/projects/{}", text(&app.project(client).await["id"]));
        let with_destination = async |name: &str| {
            let client = account(name).await;
            let project = project(&client).await;
            let new = destination("rtmp://a.example/live", "a-key");
            let made = client.post(&format!("{project}/destinations"), new).await.json(201);
            (client, project, format!("/api/destinations/{}", text(&made["id"])))
        };
        let many = async |client: &Client, path: &str, body: fn(usize) -> Value| {
            let mut made = Vec::new();
            for n in 0..EACH {
                made.push(client.post(path, body(n)).await.json(201));
            }
            made
        };
        let project_body = |n| json!({"name": format!("p{n}")});
        let renames = account("renames").await;
        let (deletes, rotates, drops) = (account("deletes").await, account("rotates").await, account("drops").await);
        let (dropped_from, ends) = (project(&drops).await, account("ends").await);
        let dropped = format!("{dropped_from}/destinations");
        let dropped = many(
            &drops,
            &dropped,
            |n| json!({"platform": "custom", "name": format!("d{n}"), "rtmpUrl": "rtmp://a.example/live", "streamKey": "k"}),
        );
        let dropped = dropped.await;
        let logs_out = account("out").await;
        let (mut sessions, mut new_password) = (Vec::new(), Vec::new());
        for n in 0..FEW {
            sessions.push(log_in(app, "out@example.org").await);
            new_password.push(account(&format!("password{n}")).await);
        }
        Self {
            renames: (renames.clone(), project(&renames).await),
            destinations: with_destination("destinations").await,
            relays: with_destination("relays").await,
            adds: account("adds").await,
            deletes: (deletes.clone(), many(&deletes, "/api/projects", project_body).await),
            rotates: (rotates.clone(), many(&rotates, "/api/projects", project_body).await),
            drops: (drops, dropped_from, dropped),
            makes_tokens: account("makes").await,
            ends_tokens: (ends.clone(), many(&ends, "/api/auth/tokens", project_body).await),
            logs_in: account("in").await,
            logs_out: (logs_out, sessions),
            new_password,
        }
    }

    /// Calls every route once, with a client that disconnects.
    async fn hang_up(&self, app: &TestApp, n: usize) {
        let none = Value::Null;
        let id = |rows: &[Value]| text(&rows[n]["id"]).to_owned();
        let named = json!({"name": format!("n{n}")});
        hang_up(&self.renames.0, n, "PATCH", &self.renames.1, &named).await;
        hang_up(&self.destinations.0, n, "PATCH", &self.destinations.2, &named).await;
        let wish = format!("{}/relay/{}", self.relays.2, if n.is_multiple_of(2) { "start" } else { "stop" });
        hang_up(&self.relays.0, n, "POST", &wish, &none).await;
        let mut new = destination("rtmp://a.example/live", "a-key");
        new["name"] = named["name"].clone();
        hang_up(&self.relays.0, n + 1, "POST", &format!("{}/destinations", self.relays.1), &new).await;
        hang_up(&self.adds, n, "POST", "/api/projects", &named).await;
        hang_up(&self.deletes.0, n, "DELETE", &format!("/api/projects/{}", id(&self.deletes.1)), &none).await;
        let key = format!("/api/projects/{}/stream-key", id(&self.rotates.1));
        hang_up(&self.rotates.0, n, "POST", &key, &none).await;
        hang_up(&self.drops.0, n, "DELETE", &format!("/api/destinations/{}", id(&self.drops.2)), &none).await;
        hang_up(&self.makes_tokens, n, "POST", "/api/auth/tokens", &named).await;
        let token = format!("/api/auth/tokens/{}", id(&self.ends_tokens.1));
        hang_up(&self.ends_tokens.0, n, "DELETE", &token, &none).await;
        if n >= FEW {
            return;
        }
        hang_up(
            &app.client,
            4 * n,
            "POST",
            "/api/auth/login",
            &json!({"email": "in@example.org", "password": PASSWORD}),
        )
        .await;
        let new = json!({"email": format!("new{n}@example.org"), "password": PASSWORD});
        hang_up(&app.client, 4 * n, "POST", "/api/auth/signup", &new).await;
        let out = &self.logs_out;
        if n.is_multiple_of(2) {
            hang_up(&out.1[n], n, "POST", "/api/auth/logout", &none).await;
        } else {
            let sessions = out.1[n].get("/api/auth/sessions").await.json(200);
            let mine = sessions.as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
            hang_up(&out.0, n, "DELETE", &format!("/api/auth/sessions/{}", text(&mine["id"])), &none).await;
        }
        let passwords = json!({"currentPassword": PASSWORD, "newPassword": ANOTHER_PASSWORD});
        hang_up(&self.new_password[n], 4 * n, "POST", "/api/auth/password", &passwords).await;
    }

    /// After the stop, which waited for every handler: compares the data with the audit log. Returns the number of
    /// changes.
    async fn compare(&self) -> usize {
        let mut changes = 0;
        let name = async |(client, path): &(Client, String)| text(&client.get(path).await.json(200)["name"]).to_owned();
        changes += chain(&self.renames.0, "name", "Sunday service", &name(&self.renames).await).await;
        let (client, project, _) = &self.destinations;
        let is = names(client, project).await.into_iter().next().unwrap();
        changes += chain(client, "name", "Hall screen", &is).await;

        let (client, project, path) = &self.relays;
        let rows = client.get(project).await.json(200);
        let rows = rows["destinations"].as_array().unwrap();
        let relay = rows.iter().find(|row| path.ends_with(text(&row["id"]))).unwrap();
        changes += chain(client, "enabled", "false", &relay["enabled"].to_string()).await;
        let added = objects(client, "destination_added").await;
        assert_eq!(names(client, project).await, added);
        changes += added.len() - 1;

        let added = objects(&self.adds, "project_created").await;
        assert_eq!(names(&self.adds, "/api/projects").await, added);
        let tokens = objects(&self.makes_tokens, "token_created").await;
        assert_eq!(names(&self.makes_tokens, "/api/auth/tokens").await, tokens);
        changes += added.len() + tokens.len();

        for (client, path, made, gone) in [
            (&self.deletes.0, "/api/projects", "project_created", "project_deleted"),
            (&self.drops.0, self.drops.1.as_str(), "destination_added", "destination_deleted"),
            (&self.ends_tokens.0, "/api/auth/tokens", "token_created", "token_deleted"),
        ] {
            let (made, gone) = (objects(client, made).await, objects(client, gone).await);
            assert_eq!(names(client, path).await, &made - &gone, "{path}");
            changes += gone.len();
        }
        let rotated = objects(&self.rotates.0, "stream_key_rotated").await;
        for before in &self.rotates.1 {
            let now = self.rotates.0.get(&format!("/api/projects/{}", text(&before["id"]))).await.json(200);
            let is_another = now["streamKey"] != before["streamKey"];
            assert_eq!(is_another, rotated.contains(text(&before["name"])), "{before}");
        }
        changes + rotated.len()
    }

    /// The same for routes that hash passwords.
    async fn compare_logins(&self, app: &TestApp) {
        let count = async |client: &Client, action: &str| {
            lines(client).await.iter().filter(|line| line["action"] == action).count()
        };
        let sessions =
            async |client: &Client| client.get("/api/auth/sessions").await.json(200).as_array().unwrap().len();
        assert_eq!(sessions(&self.logs_in).await, 1 + count(&self.logs_in, "login").await);
        let out = &self.logs_out.0;
        let ended = count(out, "logout").await + count(out, "session_ended").await;
        assert_eq!(sessions(out).await, 1 + FEW - ended);
        for (n, client) in self.new_password.iter().enumerate() {
            let account = json!({"email": format!("password{n}@example.org"), "password": ANOTHER_PASSWORD});
            let reply = app.client.post("/api/auth/login", account).await;
            let is_another = reply.status == 200;
            // The new password ended the old session.
            let token = is_another.then(|| text(&reply.json(200)["token"]).to_owned());
            let client =
                token.map_or_else(|| client.clone(), |token| Client { token: Some(token), ..app.client.clone() });
            assert_eq!(is_another, count(&client, "password_changed").await == 1, "{n}");
        }
        for n in 0..FEW {
            let account = json!({"email": format!("new{n}@example.org"), "password": PASSWORD});
            let reply = app.client.post("/api/auth/login", account).await;
            if reply.status == 200 {
                let token = Some(text(&reply.json(200)["token"]).to_owned());
                assert_eq!(text(&lines(&Client { token, ..app.client.clone() }).await[0]["action"]), "signup");
            }
        }
    }
}

async fn whoever_hangs_up(app: TestApp) {
    let stage = Stage::set(&app).await;
    for n in 0..EACH {
        stage.hang_up(&app, n).await;
    }
    let app = app.restart().await;
    let changes = stage.compare().await;
    eprintln!("{changes} of {} changes were made", 10 * EACH);
    assert!(changes > EACH, "many were made: {changes}");
    stage.compare_logins(&app).await;
    app.stop().await;
}

const ROOM: [(&str, &str); 2] = [("quota.projects", "1000"), ("quota.destinations", "1000")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_clients_change_and_audit_line_are_atomic() {
    whoever_hangs_up(TestApp::start(&ROOM).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_clients_change_and_audit_line_are_atomic_on_postgres() {
    let url = Postgres::shared().database();
    whoever_hangs_up(TestApp::start(&[ROOM[0], ROOM[1], ("database.url", &url)]).await).await;
}

/// A change is seen by open event streams, and by the reconciler, whether or not the client receives the response.
pub async fn a_change_takes_effect_although_its_client_disconnected(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let path = format!("/api/projects/{}", text(&app.project(&me).await["id"]));
    let mut events = me.events(&format!("{path}/events")).await;
    for round in 0..8 {
        let name = json!(format!("n{round}"));
        let made = async {
            // Until one request was read before its client disconnected.
            for n in round.. {
                hang_up(&me, n, "PATCH", &path, &json!({"name": name})).await;
                if me.get(&path).await.json(200)["name"] == name {
                    break;
                }
            }
        };
        timeout(PATIENCE, made).await.expect("one request is read");
        let seen = timeout(Duration::from_secs(1), events.until(|project| project["name"] == name));
        seen.await.expect("within a second");
    }
}
