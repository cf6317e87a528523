//! Operational failures: a full disk, a read-only database, a log that is not read, a second server. Streams continue,
//! and the server reports its state correctly throughout.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    PATIENCE,
    clip::{Clip, bodies},
    platform::{Behaviour, Platform},
    postgres::Postgres,
    process::text,
};
use serde_json::{Value, json};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    http::Reply,
    show::{Show, every_picture_arrived, free_addresses},
};

/// A stopping server takes 9 s at most, and one that waits for it takes longer.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Waits until `/readyz` returns this status.
async fn ready(show: &Show, status: u16) -> Reply {
    let asking = async {
        loop {
            let reply = show.client.get("/readyz").await;
            if reply.status == status {
                return reply;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("answers so")
}

/// The names of all projects.
async fn names(show: &Show) -> Vec<String> {
    let projects = show.client.get("/api/projects").await.json(200);
    let name = |project: &Value| project["name"].as_str().expect("has a name").to_owned();
    projects.as_array().expect("is a list").iter().map(name).collect()
}

/// Attempts changes of each kind, which may be refused but must be kept if not. Returns the number of refusals.
async fn changes(show: &Show, round: u32) -> usize {
    let mut refused = 0;
    let path = format!("/api/projects/{}", show.project);
    for n in 0..12 {
        // Long, so that the log must grow.
        let name = format!("{round}-{n}-{}", "x".repeat(80));
        let reply = show.client.post("/api/projects", json!({"name": name})).await;
        assert_eq!(names(show).await.contains(&name), reply.status == 201, "{}", reply.text());
        let changed = show.client.patch(&path, json!({"name": name})).await;
        assert_eq!(show.status().await["name"] == json!(name), changed.status == 200, "{}", changed.text());
        let account = json!({"email": format!("{round}-{n}@example.org"), "password": "quiet lamp under rain"});
        let signup = show.client.post("/api/auth/signup", account.clone()).await;
        let login = show.client.post("/api/auth/login", account).await;
        assert!(signup.status != 201 || matches!(login.status, 200 | 503), "{}", login.text());
        for reply in [reply, changed, signup].iter().filter(|reply| !matches!(reply.status, 200 | 201 | 429)) {
            let problem = reply.problem(503, "database_unavailable");
            assert!(problem["detail"].as_str().expect("is a sentence").contains("full"), "{problem}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_is_reported_and_streams_continue() {
    let clip = Clip::usual(14).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut show = Show::start_on_small_disk(&[]).await;
    show.destination(&platform.url(), "key").await;
    let encoder = show.publish(&clip.path, &[]);
    show.until_all_live().await;
    let stream = show.status().await["stream"]["id"].as_str().expect("is live").to_owned();

    let fill = show.seen("fill");
    let mut file = fs::File::create(&fill).expect("is made");
    while file.write_all(&[0; 4_096]).is_ok() {}
    let mut refused = 0;
    for round in 0.. {
        refused += changes(&show, round).await;
        if refused > 12 {
            break;
        }
        while file.write_all(&[0; 512]).is_ok() {}
        assert!(round < 20, "the disk is full, and changes are still stored");
    }
    let said = ready(&show, 503).await;
    assert!(
        said.problem(503, "database_unavailable")["detail"]
            .as_str()
            .is_some_and(|text| text.contains("full"))
    );
    let health = show.command_inside(&["health"], "");
    assert!(String::from_utf8_lossy(&health.stderr).contains("full"), "{health:?}");
    let added = show.command_inside(&["user", "add", "more@example.org"], "quiet lamp under rain\n");
    let printed = String::from_utf8_lossy(&added.stderr);
    assert!(!added.status.success() && printed.contains("full"), "{printed}");

    // A stream that ends meanwhile is in the history when there is space again.
    every_picture_arrived(encoder, &[platform], &clip).await;
    show.until("over", |project| project["status"] == "offline").await;
    assert_eq!(ready(&show, 503).await.status, 503);
    fs::remove_file(&fill).expect("is removed");
    drop(file);
    ready(&show, 200).await;
    show.client.post("/api/projects", json!({"name": "room again"})).await.json(201);
    let written = async {
        loop {
            let report = show.client.get(&format!("/api/projects/{}/streams/{stream}", show.project)).await.json(200);
            if report["stream"]["endedAt"].is_string() {
                return report;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let report = timeout(PATIENCE, written).await.expect("is written");
    assert_eq!(report["stream"]["endReason"], "encoder_stopped", "{report}");
    show.terminate();
    assert!(show.stopped().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_database_is_reported_and_streams_continue() {
    let clip = Clip::usual(10).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let postgres = Postgres::start().expect("starts");
    let show = Show::start(&[("GOSTREAM_DATABASE_URL", &postgres.database())]).await;
    show.destination(&platform.url(), "key").await;
    let encoder = show.publish(&clip.path, &[]);
    show.until_all_live().await;

    postgres.read_only(true).expect("is set");
    let refusal = async {
        loop {
            let reply = show.client.post("/api/projects", json!({"name": "kept"})).await;
            if reply.status == 503 {
                return reply;
            }
            reply.json(201);
            sleep(Duration::from_millis(20)).await;
        }
    };
    let refusal = timeout(PATIENCE, refusal).await.expect("is refused soon");
    let problem = refusal.problem(503, "database_unavailable");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("is read-only")), "{problem}");
    assert!(ready(&show, 503).await.text().contains("is read-only"));
    every_picture_arrived(encoder, &[platform], &clip).await;
    postgres.read_only(false).expect("is set");
    ready(&show, 200).await;
    show.client.post("/api/projects", json!({"name": "kept again"})).await.json(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_log_blocks_nothing() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut show = Show::start_unread(&[("GOSTREAM_LOG", "trace")]).await;
    show.destination(&platform.url(), "key").await;
    let encoder = show.publish(&clip.path, &[]);
    show.until_all_live().await;
    // Each request writes several lines, and a pipe holds 64 KiB.
    for _ in 0..1_000 {
        show.status().await;
    }
    every_picture_arrived(encoder, &[platform], &clip).await;
    show.terminate();
    let stopped = timeout(STOP_MAX, show.stopped()).await.expect("stops on SIGTERM");
    assert!(stopped.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_started_by_mistake_does_not_affect_the_first() {
    let clip = Clip::usual(24).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let encoder = show.publish(&clip.path, &[]);
    show.until_all_live().await;
    let stream = show.status().await["stream"]["id"].clone();

    let [http, rtmp] = free_addresses();
    let second = |data: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gostream"));
        command
            .args([
                format!("--http-listen={http}"),
                format!("--rtmp-listen={}", show.rtmp),
                format!("--data-dir={}", text(data)),
            ])
            .args(["--metrics-listen=off", &format!("--database-url=sqlite://{}/gostream.db", text(show.data()))])
            .current_dir(show.data())
            .stdin(Stdio::null());
        command
    };
    let mut same = second(show.data());
    let output = spawn_blocking(move || same.output().expect("starts")).await.expect("ends");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && printed.contains("Another server uses the data directory"), "{printed}");
    // A copy of the directory has the same node id and database, and its port is taken.
    let copy = tempfile::TempDir::new().expect("is made");
    for name in ["node.id", "secret.key"] {
        fs::copy(show.data().join(name), copy.path().join(name)).expect("is copied");
    }
    let output = second(copy.path()).output().expect("starts");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && printed.contains("rtmp.listen: cannot listen"), "{printed}");
    let _ = rtmp;

    let streams = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
    assert_eq!((&streams["items"][0]["id"], &streams["items"][0]["status"]), (&stream, &json!("live")), "{streams}");
    every_picture_arrived(encoder, &[platform], &clip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_server_does_not_take_over_when_the_first_loses_its_connection() {
    /// Terminates the session that holds a node lock, the only exclusive lock of 8 bytes.
    const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                       AND mode = 'ExclusiveLock' AND pid <> pg_backend_pid()";
    let postgres = Postgres::start().expect("starts");
    let url = postgres.database();
    let mut show = Show::start(&[("GOSTREAM_DATABASE_URL", &url)]).await;
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let _encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    show.until("live", |project| project["status"] == "live").await;
    let copy = tempfile::TempDir::new().expect("is made");
    for name in ["node.id", "secret.key"] {
        fs::copy(show.data().join(name), copy.path().join(name)).expect("is copied");
    }
    let [http, rtmp] = free_addresses();
    let mut second = Command::new(env!("CARGO_BIN_EXE_gostream"));
    second
        .args([format!("--http-listen={http}"), format!("--rtmp-listen={rtmp}"), format!("--database-url={url}")])
        .args([&format!("--data-dir={}", text(copy.path())), "--metrics-listen=off"])
        .current_dir(copy.path())
        .stdin(Stdio::null());
    let mut second = second.stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(second.stderr.take().expect("is a pipe")).lines().map_while(Result::ok);
    let waits = lines.find(|line| line.contains("Waiting for it to stop"));
    assert!(waits.is_some(), "{:?}", second.wait());
    let second = spawn_blocking(move || (lines.collect::<String>(), second.wait().expect("ends")));
    for _ in 0..40 {
        postgres.sql(&url, END).expect("ends it");
        sleep(Duration::from_millis(150)).await;
    }
    let (printed, status) = second.await.expect("ends");
    assert!(status.code() == Some(1) && printed.contains("Another server with the same node id"), "{printed}");
    assert_eq!(show.status().await["status"], "live");
    let streams = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
    assert_eq!(streams["items"][0]["status"], "live", "{streams}");
    ready(&show, 200).await;
    // After a stop, the lock is free at once.
    show.terminate();
    assert!(show.stopped().await.success());
    show.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_database_file_gets_no_changes() {
    let mut show = Show::start(&[]).await;
    let copy = show.data().join("gostream.db.copy");
    let backup = show.command(&["backup", text(&copy)], "");
    assert!(backup.status.success(), "{backup:?}");
    // As rsync and backup programs do.
    fs::rename(&copy, show.data().join("gostream.db")).expect("is replaced");
    let said = ready(&show, 503).await;
    assert!(said.text().contains("was moved or replaced"), "{}", said.text());
    let refused = show.client.post("/api/projects", json!({"name": "one more"})).await;
    refused.problem(503, "database_unavailable");
    // Our own command does not replace it either.
    let restore = show.command(&["restore", "--force", text(&copy)], "");
    let printed = String::from_utf8_lossy(&restore.stderr);
    assert!(!restore.status.success() && printed.contains("Another server uses the data directory"), "{printed}");
    show.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_resumed_after_a_freeze_keeps_its_encoders() {
    const FROZEN: Duration = Duration::from_secs(20);
    let clip = Clip::usual(30).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let encoder = show.publish(&clip.path, &[]);
    show.until_all_live().await;
    show.signal("STOP");
    sleep(FROZEN).await;
    show.signal("CONT");
    let (ended, said) = encoder.wait(PATIENCE).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    // The encoder's backlog arrives faster than it can be relayed.
    let last = |media: &[_]| bodies(media, MediaKind::Video).pop();
    assert_eq!((visits.len(), last(&visits[0].media)), (1, last(&clip.tags)), "one connection, to the last picture");
    let streams = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
    assert_eq!(streams["items"].as_array().map(Vec::len), Some(1), "{streams}");
}
