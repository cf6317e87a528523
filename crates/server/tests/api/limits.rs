//! Limits for one client that protect others: passwords, and connections to other servers.

use gostream_testkit::{
    PATIENCE,
    platform::{Behaviour, Platform},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    app::{PASSWORD, TestApp, destination, text},
    http::{Call, Client, Reply},
};

/// Logs in from an address, set by the trusted proxy on this machine, with or without a cookie.
async fn log_in(app: &TestApp, from: &str, password: &str, cookie: &str) -> Reply {
    let call = Call::new("POST", "/api/auth/login").json(&json!({"email": "me@example.org", "password": password}));
    app.client.send(call.header("x-forwarded-for", from).header("cookie", cookie)).await
}

/// The cookie that identifies a known browser.
fn browser(reply: &Reply) -> String {
    let cookies = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = cookies.into_iter().find(|cookie| cookie.starts_with("gostream_browser=")).expect("is given");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/api/auth"));
    cookie.split(';').next().unwrap().to_owned()
}

#[track_caller]
fn assert_waits(reply: &Reply, seconds_max: u64) {
    reply.problem(429, "too_many_requests");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=seconds_max).contains(&wait), "{wait}");
}

pub async fn failed_logins_of_others_do_not_lock_out_the_owner(app: &TestApp) {
    const HOME: &str = "203.0.113.5";
    /// Ten, plus one per 30 s on a slow machine.
    const TRIES_MAX: usize = 40;
    let me = app.user("me@example.org").await;
    let others = app
        .client
        .post("/api/auth/signup", json!({"email": "other@example.org", "password": PASSWORD}))
        .await;
    let others = browser(&others);
    let at_home = log_in(app, HOME, PASSWORD, "").await;
    at_home.json(200);
    let known = browser(&at_home);

    let mut tries = 0;
    while log_in(app, &format!("198.51.100.{tries}"), "wrong", "").await.status == 401 {
        tries += 1;
        assert!(tries <= TRIES_MAX, "for ever");
    }
    assert!(tries >= 9, "{tries}");
    assert_waits(&log_in(app, "198.51.100.77", PASSWORD, "").await, 30);
    assert_waits(&log_in(app, "198.51.100.77", PASSWORD, &others).await, 30);
    assert_waits(&log_in(app, "198.51.100.77", PASSWORD, "gostream_browser=AAAA").await, 30);
    let back = log_in(app, "198.51.100.78", PASSWORD, &known).await;
    back.json(200);
    let second = browser(&log_in(app, HOME, PASSWORD, "").await);
    const NEW: &str = "purple stone over wind";
    let changed = me.post("/api/auth/password", json!({"currentPassword": PASSWORD, "newPassword": NEW})).await;
    changed.empty(204);
    assert_waits(&log_in(app, "198.51.100.81", NEW, &second).await, 30);
    let known = browser(&log_in(app, "198.51.100.81", NEW, &browser(&changed)).await);

    // A known browser has no more attempts than others.
    tries = 0;
    while log_in(app, "198.51.100.79", "wrong", &known).await.status == 401 {
        tries += 1;
        assert!(tries <= TRIES_MAX, "for ever");
    }
    assert!(tries >= 8, "{tries}");
    assert_waits(&log_in(app, "198.51.100.80", "wrong", &browser(&changed)).await, 30);
    tries = 0;
    while log_in(app, HOME, "wrong", "").await.status == 401 {
        tries += 1;
        assert!(tries <= TRIES_MAX, "for ever");
    }
}

/// A destination on that server, in a new project.
async fn destination_of(app: &TestApp, me: &Client, url: &str) -> String {
    let path = format!("/api/projects/{}/destinations", text(&app.project(me).await["id"]));
    format!("/api/destinations/{}", text(&me.post(&path, destination(url, "key")).await.json(201)["id"]))
}

pub async fn tests_and_retries_are_limited_per_account(app: &TestApp) {
    /// Thirty, plus one per 5 s.
    const TRIES_MAX: usize = 100;
    let platform = Platform::start(Behaviour::default()).await.unwrap();
    let (me, other) = (app.user("me@example.org").await, app.user("other@example.org").await);
    let mine = destination_of(app, &me, &platform.url()).await;
    let theirs = destination_of(app, &other, &platform.url()).await;
    assert_eq!(me.post(&format!("{mine}/test"), Value::Null).await.json(200)["ok"], true);
    let mut tries = 1;
    let refused = loop {
        let reply = me.post(&format!("{mine}/relay/retry"), Value::Null).await;
        if reply.status != 200 {
            break reply;
        }
        tries += 1;
        assert!(tries <= TRIES_MAX, "for ever");
    };
    assert!(tries >= 30, "{tries}");
    assert_waits(&refused, 5);
    assert_waits(&me.post(&format!("{mine}/test"), Value::Null).await, 5);
    assert_eq!(other.post(&format!("{theirs}/test"), Value::Null).await.json(200)["ok"], true);
}

pub async fn upstream_publishers_are_limited_per_account(app: &TestApp) {
    const TRIES: usize = 60;
    let (me, other) = (app.user("me@example.org").await, app.user("other@example.org").await);
    let pulled = async |client: &Client| {
        let body = json!({"name": "Hall", "pullUrl": "rtmp://127.0.0.1:9/live"});
        text(&client.post("/api/projects", body).await.json(201)["streamKey"]).to_owned()
    };
    let (mine, theirs) = (pulled(&me).await, pulled(&other).await);
    let publish = async |key: &str| app.client.get(&format!("/api/streams/on_publish?name={key}")).await;
    let mut refused = Vec::new();
    for _ in 0..TRIES * 2 {
        let reply = publish(&mine).await;
        if reply.status != 200 {
            refused.push(reply);
        }
    }
    assert!(refused.len() >= TRIES / 2, "{}", refused.len());
    refused.iter().for_each(|reply| assert_waits(reply, 2));
    assert_eq!(publish(&theirs).await.status, 200, "another account has its own limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_is_refused_early_and_delays_nobody_else() {
    const CROWD: usize = 50;
    let app = TestApp::start(&[]).await;
    app.user("me@example.org").await;
    let mut crowd = JoinSet::new();
    for n in 0..CROWD {
        let body = json!({"email": format!("nobody{n}@example.org"), "password": "x"});
        let call = Call::new("POST", "/api/auth/login").json(&body).header("x-forwarded-for", "198.51.100.1");
        let client = app.client.clone();
        crowd.spawn(async move { client.send(call).await });
    }
    let first = crowd.join_next().await.unwrap().unwrap();
    first.problem(503, "busy");
    assert!(first.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    // A login in the same queue is refused, too, but does not count as a wrong password.
    log_in(&app, "198.51.100.1", PASSWORD, "").await.problem(503, "busy");
    let me = log_in(&app, "203.0.113.5", PASSWORD, "").await.json(200);
    let (mut refused, mut answered) = (1, 0);
    while let Some(done) = crowd.try_join_next() {
        match done.unwrap().status {
            503 => refused += 1,
            status => answered += usize::from(status == 401),
        }
    }
    assert!(refused >= CROWD / 4, "{refused} were refused at once");
    assert!(answered < CROWD / 3, "the login overtook most of the flood, of which {answered} were answered");
    crowd.shutdown().await;
    let me = Client { token: me["token"].as_str().map(str::to_owned), ..app.client.clone() };
    let audit = me.get("/api/auth/audit").await.json(200);
    assert!(audit.as_array().unwrap().iter().all(|line| line["action"] != "login_failed"), "{audit}");
    app.stop().await;
}

/// Starts a change of the project whose body is not sent yet; the server waits for it.
async fn begin_change(client: &Client, path: &str, body: &str) -> TcpStream {
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        client.token.as_ref().unwrap(),
        body.len()
    );
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut wanted = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut wanted)).await.expect("is wanted").unwrap();
    assert_eq!(wanted, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_changes_of_one_account_delay_only_each_other() {
    const CROWD: usize = 60;
    let app = TestApp::start(&[]).await;
    let (me, other) = (app.user("me@example.org").await, app.user("other@example.org").await);
    let mine = format!("/api/projects/{}", text(&app.project(&me).await["id"]));
    let theirs = format!("/api/projects/{}", text(&app.project(&other).await["id"]));
    let body = json!({"name": "changed"}).to_string();
    let mut begun = [begin_change(&me, &mine, &body).await, begin_change(&me, &mine, &body).await];
    let mut crowd = JoinSet::new();
    for n in 0..CROWD {
        let (me, mine) = (me.clone(), mine.clone());
        crowd.spawn(async move { me.patch(&mine, json!({"name": format!("n{n}")})).await });
    }
    other.patch(&theirs, json!({"name": "quick"})).await.json(200);
    me.get(&mine).await.json(200);
    me.post("/api/auth/tokens", json!({"name": "what decides who gets in"})).await.json(201);
    assert!(crowd.try_join_next().is_none(), "two of an account at a time");

    for stream in &mut begun {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("is answered").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let replies = crowd.join_all().await;
    assert!(replies.iter().all(|reply| reply.status == 200), "waiting requests are served");
    app.stop().await;
}
