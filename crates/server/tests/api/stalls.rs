//! No request blocks a worker thread: the most expensive input for every parser, on every route that needs no login.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::{app::TestApp, http::Call};

/// A task may use a thread for this long before others run, in CPU time, which other programs do not increase. The
/// server's code is not optimised in tests, so it takes many times longer than in release builds.
const STALL: Duration = Duration::from_millis(200);

/// CPU time of this thread.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Shares the test's single thread with everything else, and records the longest time in which it did not run.
async fn watch(longest_us: Arc<AtomicU64>) {
    let mut before = worked();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = worked();
        longest_us.fetch_max((now - before).as_micros() as u64, Ordering::SeqCst);
        before = now;
    }
}

/// The most expensive strings for a parser, the password strength check or a comparison, within the request size limit.
fn worst_strings() -> Vec<String> {
    let letters = "4@8({[<369|1!/5$0%7+2".repeat(4);
    let long = |part: &str| part.repeat(60_000 / part.len());
    vec![
        letters[..71].to_owned(),
        "a".repeat(71),
        "qwertyuiop".repeat(7),
        "2019-12-31".repeat(7),
        "ａ".repeat(23),
        long("4@8({[<369|1!/5$0%7+2"),
        long("a@"),
        long("a."),
        long("%61"),
        long("&name="),
        long("[["),
        long("{\"a\":"),
        long("\\u0000"),
        long("\u{202e}"),
        long("9"),
    ]
}

/// Every documented request without a login, with `text` in every possible place.
fn requests(document: &Value, text: &str) -> Vec<Call> {
    let in_path: String = text
        .chars()
        .take(500)
        .flat_map(|c| c.to_string().into_bytes())
        .map(|b| format!("%{b:02X}"))
        .collect();
    let form = format!("name={text}&call=publish&addr={text}");
    let bodies = [
        ("application/json", serde_json::json!({"email": "a", "password": text}).to_string()),
        ("application/json", serde_json::json!({"email": "me@example.org", "password": text}).to_string()),
        ("application/json", serde_json::json!({"email": text, "password": "quiet lamp under rain"}).to_string()),
        ("application/json", text.to_owned()),
        ("application/x-www-form-urlencoded", form),
    ];
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"]
                .as_array()
                .is_none_or(|kinds| kinds.iter().any(|kind| kind != &serde_json::json!({})))
            {
                continue;
            }
            let parts = path.split('/').map(|part| if part.starts_with('{') { in_path.as_str() } else { part });
            let path = format!("{}?name={in_path}&_HLS_msn={in_path}", parts.collect::<Vec<_>>().join("/"));
            for (kind, body) in &bodies {
                let call = Call::new(method, &path).header("x-forwarded-for", "198.51.100.1");
                let call = call.header("cookie", &format!("gostream_browser={in_path}"));
                calls.push(if method == "get" { call } else { call.body(kind, body) });
                if method == "get" {
                    break;
                }
            }
        }
    }
    calls
}

#[tokio::test]
async fn the_most_expensive_strings_block_no_worker_on_any_open_route() {
    let app = TestApp::start(&[]).await;
    app.user("me@example.org").await;
    let document = app.client.get("/api/openapi.json").await.json(200);
    let texts = worst_strings();
    let routes = requests(&document, "x").len();
    assert!(routes > 15, "{routes} requests for each string");

    let longest_us = Arc::new(AtomicU64::new(0));
    let watching = tokio::spawn(watch(longest_us.clone()));
    let failed = Arc::new(AtomicBool::new(false));
    for text in &texts {
        let mut at_once = tokio::task::JoinSet::new();
        for call in requests(&document, text) {
            let (client, failed) = (app.client.clone(), failed.clone());
            at_once.spawn(async move {
                let status = client.send(call).await.status;
                failed.fetch_or(status == 500, Ordering::SeqCst);
            });
        }
        at_once.join_all().await;
    }
    watching.abort();
    let longest = Duration::from_micros(longest_us.load(Ordering::SeqCst));
    assert!(longest < STALL, "a task held the thread for {longest:?}");
    assert!(!failed.load(Ordering::SeqCst), "something failed");
    app.stop().await;
}
