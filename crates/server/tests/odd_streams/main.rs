//! Streams as odd encoders send them: each is a modified clip, played in real time through the real program to a
//! destination and to two HLS watchers. The output is decoded and measured.
//!
//! `ODD_CASES=c1b,c8 cargo test --package gostream --test odd_streams` runs only these; a case is selected by its id or
//! by a part of its name.

mod bend;
mod checks;
mod clips;
mod clocks;
mod headers;
#[path = "../api/http.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a test fixture; the API's tests use the rest")]
mod http;
mod keyframes;
mod measure;
mod pictures;
mod run;
#[path = "../e2e/show.rs"]
#[allow(dead_code, reason = "a test fixture; the end-to-end tests use the rest")]
mod show;
mod sounds;
mod streams;
mod watch;

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_odd_clocks_play() {
    run::side_by_side(clocks::CASES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_odd_pictures_play() {
    run::side_by_side(pictures::CASES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_odd_keyframes_play() {
    run::side_by_side(keyframes::CASES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_odd_headers_play() {
    run::side_by_side(headers::CASES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_odd_sound_play() {
    run::side_by_side(sounds::CASES).await;
}
