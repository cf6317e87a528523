//! The command that replaces the secret key: what the new key decrypts, what ends, and that it may be killed at any
//! time.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Output,
    time::{Duration, Instant},
};

use gostream_testkit::{
    clip::Clip,
    platform::{Behaviour, Platform},
    postgres::Postgres,
};
use serde_json::json;

use crate::show::Show;

const GIVEN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8=";
const PASSWORD: &str = "quiet lamp under rain";

fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn key_file(show: &Show, ending: &str) -> PathBuf {
    show.data().join(format!("secret.key{ending}"))
}

/// Readable by its user only, as the server requires.
fn write(path: PathBuf, key: &str) {
    fs::write(&path, key).expect("is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("is private");
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).expect("is there")
}

/// A server with a destination, stopped, rotated and started: what remains, and what ends.
async fn rotates(environment: &[(&str, &str)]) {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut show = Show::start(environment).await;
    show.destination(&platform.url(), "key-at-the-platform").await;
    let (code, printed) = outcome(&show.command(&["secret", "rotate"], ""));
    assert!(code == Some(1) && printed.contains("Another server uses the data directory"), "{printed}");
    assert!(!key_file(&show, ".new").exists(), "nothing was begun");
    show.kill();

    let before = read(key_file(&show, ""));
    let output = show.command(&["secret", "rotate"], "");
    assert_eq!(outcome(&output), (Some(0), String::new()));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("1 projects and 1 destinations") && printed.contains("log in again"), "{printed}");
    assert_ne!(read(key_file(&show, "")), before);
    assert_eq!(read(key_file(&show, ".old")), before);
    assert!(!key_file(&show, ".new").exists());
    for ending in ["", ".old"] {
        let metadata = fs::metadata(key_file(&show, ending)).expect("is there");
        let mode = metadata.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    show.restart().await;
    show.client.get("/api/projects").await.problem(401, "unauthorized");
    let account = json!({"email": "one@example.org", "password": PASSWORD});
    let session = show.client.post("/api/auth/login", account).await.json(200);
    show.client.token = session["token"].as_str().map(str::to_owned);
    assert_eq!(show.status().await["streamKey"], json!(show.key));
    let _encoder = show.publish(&clip.path, &["-stream_loop", "-1"]);
    let visits = platform.until_video(3).await;
    assert_eq!(visits[0].key, "key-at-the-platform");

    show.kill();
    fs::copy(key_file(&show, ".old"), key_file(&show, "")).expect("is copied");
    let (code, printed) = outcome(&show.command(&["serve"], ""));
    assert!(code == Some(2) && printed.contains("restore that key"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_key_decrypts_everything_and_ends_every_session() {
    rotates(&[]).await;
    rotates(&[("GOSTREAM_DATABASE_URL", &Postgres::shared().database())]).await;
}

/// Runs a command that opens the database as a server does.
fn opens(show: &Show, step: &str) {
    let (code, printed) = outcome(&show.command(&["user", "password", "one@example.org"], PASSWORD));
    assert_eq!(code, Some(0), "{step}: {printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rotation_leaves_a_server_that_starts() {
    let mut show = Show::start(&[]).await;
    show.kill();
    let before = read(key_file(&show, ""));
    // Stopped before the database was changed: the new key belongs to nothing.
    write(key_file(&show, ".new"), GIVEN);
    opens(&show, "before the commit");
    assert_eq!(read(key_file(&show, "")), before);
    assert_eq!(outcome(&show.command(&["secret", "rotate"], "")), (Some(0), String::new()));
    let second = read(key_file(&show, ""));
    assert!(second != before && second.trim() != GIVEN);
    opens(&show, "after a whole rotation");

    // Stopped between the commit and the renaming of the files.
    let interrupt = |present: &str| {
        fs::rename(key_file(&show, ""), key_file(&show, ".new")).expect("is moved");
        write(key_file(&show, ""), present);
    };
    interrupt(&before);
    opens(&show, "after the commit");
    assert_eq!((read(key_file(&show, "")), read(key_file(&show, ".old"))), (second, before.clone()));
    assert!(!key_file(&show, ".new").exists());
    // The next rotation completes it, just as a start does.
    interrupt(&before);
    assert_eq!(outcome(&show.command(&["secret", "rotate"], "")), (Some(0), String::new()));
    opens(&show, "after another rotation");
    show.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_may_be_killed_at_any_time() {
    let mut show = Show::start(&[]).await;
    for n in 0..40 {
        show.destination("rtmp://127.0.0.1:1/live", &format!("key-{n}")).await;
    }
    show.kill();
    let began = Instant::now();
    assert_eq!(outcome(&show.command(&["secret", "rotate"], "")).0, Some(0));
    let whole = began.elapsed();
    let mut outcomes = [0, 0];
    for n in 1..=12 {
        let before = read(key_file(&show, ""));
        let mut rotation = show.spawn(&["secret", "rotate"]);
        // Not a wait for an event: the test varies the time of the kill.
        tokio::time::sleep(Duration::min(whole * n / 10, whole * 2)).await;
        rotation.kill().expect("is killed");
        rotation.wait().expect("is gone");
        opens(&show, &format!("killed after {n}/10"));
        outcomes[usize::from(read(key_file(&show, "")) != before)] += 1;
    }
    println!("a whole rotation took {whole:?}; of the killed ones, {outcomes:?} changed nothing, and everything");
    show.restart().await;
    let account = json!({"email": "one@example.org", "password": PASSWORD});
    let session = show.client.post("/api/auth/login", account).await.json(200);
    show.client.token = session["token"].as_str().map(str::to_owned);
    let project = show.status().await;
    assert_eq!(project["streamKey"], json!(show.key));
    assert_eq!(project["destinations"].as_array().map(Vec::len), Some(40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_the_settings_is_replaced_by_the_given_one() {
    let mut show = Show::start(&[("GOSTREAM_SECRET_KEY", GIVEN)]).await;
    show.kill();
    for (line, sentence) in [("", "32 bytes in base64"), ("short", "32 bytes in base64"), (GIVEN, "is the current one")]
    {
        let (code, printed) = outcome(&show.command(&["secret", "rotate"], line));
        assert!(code == Some(1) && printed.contains(sentence) && printed.contains("nothing was changed"), "{printed}");
    }
    assert_eq!(outcome(&show.command(&["secret", "rotate"], &format!("{OTHER}\n"))), (Some(0), String::new()));
    assert!(!key_file(&show, "").exists() && !key_file(&show, ".old").exists());
    let (code, printed) = outcome(&show.command(&["serve"], ""));
    assert!(code == Some(2) && printed.contains("restore that key") && !printed.contains(GIVEN), "{printed}");
    show.set("GOSTREAM_SECRET_KEY", OTHER);
    show.restart().await;
    show.client.get("/api/projects").await.problem(401, "unauthorized");
}
