//! The machine is lost while streaming, and a backup restores the server on another one.

use std::{os::unix::fs::PermissionsExt as _, process::Output};

use gostream_testkit::{
    clip::Clip,
    platform::{Behaviour, Platform},
    process::text,
};
use serde_json::json;
use tempfile::TempDir;

use crate::show::Show;

/// The exit code and the error output.
fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_while_live_restores_everything_on_an_empty_machine() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut show = Show::start(&[]).await;
    show.destination(&platform.url(), "key-at-the-platform").await;
    let encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    show.until_all_live().await;
    let stream = show.status().await["stream"]["id"].clone();

    let elsewhere = TempDir::new().expect("is made");
    let copy = elsewhere.path().join("gostream.backup");
    assert_eq!(outcome(&show.command(&["backup", text(&copy)], "")), (Some(0), String::new()));
    assert_eq!(std::fs::metadata(&copy).expect("is there").permissions().mode() & 0o777, 0o600);
    let (code, printed) = outcome(&show.command(&["backup", text(&copy)], ""));
    assert!(code == Some(1) && printed.contains("a backup overwrites nothing"), "{printed}");
    let (code, printed) = outcome(&show.command(&["restore", "--force", text(&copy)], ""));
    assert!(code == Some(1) && printed.contains("Another server uses the data directory"), "{printed}");
    show.until_all_live().await;

    show.kill();
    drop(encoder);
    let (code, printed) = outcome(&show.command(&["restore", text(&copy)], ""));
    assert!(code == Some(1) && printed.contains("use --force"), "{printed}");
    show.move_house();
    assert_eq!(outcome(&show.command(&["restore", text(&copy)], "")), (Some(0), String::new()));
    show.restart().await;

    let account = json!({"email": "one@example.org", "password": "quiet lamp under rain"});
    show.client.post("/api/auth/login", account).await.json(200);
    // The restored server is the same one: an earlier token is still valid.
    let status = show.status().await;
    assert_eq!(status["streamKey"], json!(show.key));
    let _encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    let visits = platform.until("the second visit", |visits| visits.len() == 2 && visits[1].media.len() > 3).await;
    assert_eq!(visits[1].key, "key-at-the-platform");
    show.until_all_live().await;
    let path = format!("/api/projects/{}/streams", show.project);
    let history = show.client.get(&path).await.json(200);
    let killed = history["items"].as_array().expect("is a list").iter().find(|item| item["id"] == stream);
    assert_eq!(killed.expect("is in the history")["endReason"], "server_killed", "its node is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_restore_keeps_the_previous_data_aside() {
    let mut show = Show::start(&[]).await;
    let elsewhere = TempDir::new().expect("is made");
    let copy = elsewhere.path().join("gostream.backup");
    assert_eq!(outcome(&show.command(&["backup", text(&copy)], "")), (Some(0), String::new()));
    show.client.post("/api/projects", json!({"name": "After the backup"})).await.json(201);
    show.kill();

    // A failed restore changes nothing.
    let spoiled = elsewhere.path().join("spoiled");
    std::fs::write(&spoiled, "no backup").expect("is written");
    let (code, printed) = outcome(&show.command(&["restore", "--force", text(&spoiled)], ""));
    assert!(code == Some(1) && printed.contains("is no backup of GoStream"), "{printed}");
    show.restart().await;
    let projects = |show: &Show| {
        let client = show.client.clone();
        async move { client.get("/api/projects").await.json(200).as_array().map(Vec::len) }
    };
    assert_eq!(projects(&show).await, Some(2));
    show.kill();

    let output = show.command(&["restore", "--force", text(&copy)], "");
    assert_eq!(outcome(&output), (Some(0), String::new()));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let ending = printed.split_once("end in ").and_then(|(_, rest)| rest.split_once(".\n")).expect("is printed").0;
    for name in ["gostream.db", "secret.key"] {
        assert!(show.data().join(format!("{name}{ending}")).exists(), "{name}{ending}");
    }
    show.restart().await;
    assert_eq!(projects(&show).await, Some(1));
    assert_eq!(show.status().await["streamKey"], json!(show.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_the_settings_must_match_the_backup() {
    let key = ("GOSTREAM_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let mut given = Show::start(&[key]).await;
    let mut own = Show::start(&[]).await;
    let elsewhere = TempDir::new().expect("is made");
    let [of_given, of_own] = ["given", "own"].map(|name| elsewhere.path().join(name));
    assert_eq!(outcome(&given.command(&["backup", text(&of_given)], "")), (Some(0), String::new()));
    assert_eq!(outcome(&own.command(&["backup", text(&of_own)], "")), (Some(0), String::new()));
    given.kill();
    own.kill();
    given.move_house();
    let (code, printed) = outcome(&given.command(&["restore", text(&of_own)], ""));
    assert!(code == Some(2) && printed.contains("another secret key than the setting secret_key"), "{printed}");
    assert_eq!(outcome(&given.command(&["restore", text(&of_given)], "")), (Some(0), String::new()));
    assert!(!given.data().join("secret.key").exists(), "the key stays where the operator keeps it");
    given.restart().await;
    assert_eq!(given.status().await["streamKey"], json!(given.key));
    // Without a key in the settings, the key of the backup is written to its file.
    own.move_house();
    assert_eq!(outcome(&own.command(&["restore", text(&of_given)], "")), (Some(0), String::new()));
    own.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_refuses_postgres() {
    let url = "postgres://me:hunter2@127.0.0.1:1/db";
    let folder = TempDir::new().expect("is made");
    for command in ["backup", "restore"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gostream"))
            .args([command, "copy", "--database-url", url, "--data-dir", "data"])
            .env_clear()
            .current_dir(folder.path())
            .output()
            .expect("starts");
        let (code, printed) = outcome(&output);
        assert!(code == Some(1) && printed.contains("pg_dump") && printed.contains("secret key"), "{printed}");
        assert_eq!(printed.lines().count(), 1);
        assert!(!printed.contains("hunter2"));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "no file was created");
}
