//! A project while an encoder is sending: events, status, history, HLS, and the ways to end it.

use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, destination, text},
    http::{Call, Client},
};

/// An encoder that has sent six seconds.
pub async fn publish(app: &TestApp, project: &Value) -> Encoder {
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script { ms: 8_000, ..Script::default() }.write()).await.expect("taken");
    encoder
}

fn path_of(project: &Value) -> String {
    format!("/api/projects/{}", text(&project["id"]))
}

async fn end_reason(me: &Client, project: &Value) -> String {
    let streams = me.get(&format!("{}/streams", path_of(project))).await.json(200);
    text(&streams["items"][0]["endReason"]).to_owned()
}

pub async fn a_live_stream_is_shown_and_recorded_in_the_history(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("{}/events", path_of(&project))).await;
    let (name, snapshot) = events.next().await.expect("a snapshot");
    assert_eq!(
        (name.as_str(), &snapshot["status"], &snapshot["destinations"]),
        ("snapshot", &json!("offline"), &json!([]))
    );
    let unknown = Encoder::publish(app.rtmp(), "0190b0a0-0000-4000-8000-000000000000").await;
    assert!(unknown.is_err(), "no such key");

    let encoder = publish(app, &project).await;
    let live = events
        .until(|project| project["stream"]["previewReady"] == true && project["stream"]["video"] != Value::Null)
        .await;
    let stream = &live["stream"];
    assert_eq!((&stream["video"]["codec"], &stream["video"]["width"]), (&json!("h264"), &json!(640)));
    assert_eq!((&stream["audio"]["codec"], &stream["audio"]["sampleRate"]), (&json!("aac"), &json!(48_000)));
    assert_eq!(
        (&stream["status"], &stream["endedAt"], &stream["projectId"]),
        (&json!("live"), &Value::Null, &project["id"])
    );
    assert_eq!(me.get("/api/projects").await.json(200)[0]["status"], "live");

    hls(app, &project).await;

    // A second publisher that an nginx in front refused: its publish-done hook has this key, and must end nothing.
    let done = Call::new("POST", "/api/streams/on_publish_done");
    let done = done
        .body("application/x-www-form-urlencoded", &format!("call=publish_done&name={}", text(&project["streamKey"])));
    assert_eq!(app.client.send(done).await.status, 200);
    assert_eq!(me.get(&path_of(&project)).await.json(200)["status"], "live");

    encoder.stop().await.expect("stops");
    events.until(|project| project["status"] == "offline" && project["stream"] == Value::Null).await;
    let playlist = app.client.get(&format!("/hls/{}.m3u8", text(&project["streamKey"]))).await;
    playlist.problem(404, "not_found");
    // The history is written after the stream; the row of the next stream is written after this one's.
    let encoder = publish(app, &project).await;
    events.until(|project| project["status"] == "live").await;
    let history = format!("{}/streams", path_of(&project));
    let newest =
        history_until(&me, &history, |page| page["items"].as_array().is_some_and(|items| items.len() == 2)).await;
    assert_eq!(newest["items"][0]["status"], "live");
    let kept = &newest["items"][1];
    assert_eq!(
        (&kept["id"], &kept["status"], &kept["endReason"]),
        (&stream["id"], &json!("ended"), &json!("encoder_stopped"))
    );
    assert!(text(&kept["endedAt"]) >= text(&kept["startedAt"]));
    let first = me.get(&format!("{history}?limit=1")).await.json(200);
    let rest = me.get(&format!("{history}?limit=1&cursor={}", text(&first["nextCursor"]))).await.json(200);
    assert_eq!((&rest["items"][0]["id"], &rest["nextCursor"]), (&kept["id"], &Value::Null));
    drop(encoder);
}

/// Rows follow events shortly; each poll is a request, so this does not spin.
async fn history_until(me: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let page = me.get(path).await.json(200);
            if wanted(&page) {
                return page;
            }
        }
    };
    tokio::time::timeout(gostream_testkit::PATIENCE, look).await.expect("the history is not written")
}

async fn hls(app: &TestApp, project: &Value) {
    let (key, playback) = (text(&project["streamKey"]), text(&project["playbackId"]));
    let classic = playlist(app, &format!("/hls/{key}.m3u8")).await;
    let first = classic.lines().find(|line| line.ends_with(".ts")).expect("a segment").to_owned();
    assert!(first.starts_with(&format!("{key}-")), "{first}");
    let number = first.trim_start_matches(&format!("{key}-")).trim_end_matches(".ts").to_owned();

    let segment = app.client.get(&format!("/hls/{first}")).await;
    assert_eq!((segment.status, segment.header("content-type")), (200, "video/mp2t"));
    assert!(
        segment.header("cache-control").contains("immutable") && segment.header("access-control-allow-origin") == "*"
    );
    assert_eq!((segment.body.len() % 188, segment.body.first()), (0, Some(&0x47)), "whole TS packets");
    let head = app.client.send(Call::new("HEAD", &format!("/hls/{first}"))).await;
    assert_eq!((head.status, head.header("content-length")), (200, segment.body.len().to_string().as_str()));

    low_latency(app, key, playback).await;

    let preflight = Call::new("OPTIONS", &format!("/hls/{key}.m3u8")).header("origin", "https://player.example");
    let preflight = app.client.send(preflight.header("access-control-request-method", "GET")).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (200, "*"));
    for unknown in [
        format!("/hls/{key}-999999.ts"),
        format!("/hls/{key}-+{number}.ts"),
        format!("/hls/{key}-0{number}.ts"),
        format!("/hls/{key}.mp4"),
        format!("/hls/{key}"),
        format!("/hls/{key}-.ts"),
        "/hls/unknown.m3u8".to_owned(),
        format!("/hls/{playback}.m3u8"),
        format!("/hls/{key}/index.m3u8"),
        format!("/hls/{playback}/{number}.ts"),
        format!("/hls/{playback}/0.m4s"),
        format!("/hls/{playback}/init-0.mp4"),
        "/hls/unknown/index.m3u8".to_owned(),
    ] {
        let reply = app.client.get(&unknown).await;
        reply.problem(404, "not_found");
        assert_eq!(reply.header("access-control-allow-origin"), "*", "players on other sites may read it");
    }
}

/// The form for viewers: names without the key, an init segment, segments and parts, and delivery directives.
async fn low_latency(app: &TestApp, key: &str, playback: &str) {
    let folder = format!("/hls/{playback}/");
    let variants = playlist(app, &format!("{folder}index.m3u8")).await;
    assert!(variants.contains("CODECS=\"avc1.42C01E,mp4a.40.2\"") && variants.contains("media.m3u8"), "{variants}");
    let media = playlist(app, &format!("{folder}media.m3u8")).await;
    assert!(!variants.contains(key) && !media.contains(key), "{media}");
    let quoted = |tag: &str| {
        let line = media.lines().find(|line| line.starts_with(tag)).unwrap_or_else(|| panic!("no {tag} in {media}"));
        line.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("has a URI").to_owned()
    };
    let init = app.client.get(&format!("{folder}{}", quoted("#EXT-X-MAP"))).await;
    assert_eq!((init.status, init.header("content-type"), &init.body[4..8]), (200, "video/mp4", &b"ftyp"[..]));
    let segment = media.lines().find(|line| line.ends_with(".m4s")).expect("a segment");
    let segment = app.client.get(&format!("{folder}{segment}")).await;
    assert_eq!((segment.status, segment.header("content-type")), (200, "video/iso.segment"));
    assert_eq!(segment.header("content-length"), segment.body.len().to_string());
    assert!(
        segment.header("cache-control").contains("immutable") && segment.header("access-control-allow-origin") == "*"
    );
    let part = app.client.get(&format!("{folder}{}", quoted("#EXT-X-PART:"))).await;
    assert_eq!((part.status, &part.body[4..8]), (200, &b"moof"[..]));
    for nonsense in ["_HLS_part=1", "_HLS_msn=x", "_HLS_msn=99999999999"] {
        app.client.get(&format!("{folder}media.m3u8?{nonsense}")).await.problem(400, "bad_request");
    }
}

async fn playlist(app: &TestApp, path: &str) -> String {
    let reply = app.client.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    assert_eq!(reply.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!((reply.header("cache-control"), reply.header("access-control-allow-origin")), ("no-cache", "*"));
    assert!(reply.text().starts_with("#EXTM3U\n"), "{}", reply.text());
    reply.text()
}

pub async fn deleting_and_rotating_end_the_stream(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("{}/events", path_of(&project))).await;
    let mut encoder = publish(app, &project).await;
    events.until(|project| project["status"] == "live").await;

    let rotated = me.post(&format!("{}/stream-key", path_of(&project)), Value::Null).await.json(200);
    encoder.closed().await.expect("the publisher with the old key is disconnected");
    events
        .until(|project| project["status"] == "offline" && project["streamKey"] == rotated["streamKey"])
        .await;
    assert!(Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.is_err(), "the old key is invalid");

    let mut encoder = publish(app, &rotated).await;
    events.until(|project| project["status"] == "live").await;
    let history = format!("{}/streams", path_of(&project));
    history_until(&me, &history, |page| page["items"].as_array().is_some_and(|items| items.len() == 2)).await;
    let rows = me.get(&history).await.json(200);
    assert_eq!(rows["items"][1]["endReason"], "ended_by_owner");
    assert_eq!(rows["items"][0]["endReason"], Value::Null);

    me.delete(&path_of(&project)).await.empty(204);
    encoder.closed().await.expect("the publisher of the deleted project is disconnected");
    events.ended().await;
    assert!(Encoder::publish(app.rtmp(), text(&rotated["streamKey"])).await.is_err());
}

pub async fn a_new_playback_id_invalidates_the_old_one_but_not_the_stream(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("{}/events", path_of(&project))).await;
    let encoder = publish(app, &project).await;
    events.until(|project| project["stream"]["previewReady"] == json!(true)).await;
    let watched = |project: &Value| format!("/hls/{}/index.m3u8", text(&project["playbackId"]));
    playlist(app, &watched(&project)).await;

    let moved = me.post(&format!("{}/playback-id", path_of(&project)), Value::Null).await.json(200);
    app.client.get(&watched(&project)).await.problem(404, "not_found");
    playlist(app, &watched(&moved)).await;
    let shown = events.until(|project| project["playbackId"] == moved["playbackId"]).await;
    assert_eq!((&shown["status"], &shown["streamKey"]), (&json!("live"), &project["streamKey"]));
    app.client.get(&watched(&project)).await.problem(404, "not_found");
    playlist(app, &watched(&moved)).await;
    encoder.stop().await.expect("was live throughout");
}

/// Heartbeats are events, since browsers do not show comments to a page, which needs them to detect a buffering proxy.
pub async fn an_idle_event_stream_has_heartbeats(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut events = me.events(&format!("{}/events", path_of(&project))).await;
    assert_eq!(events.any().await.expect("a snapshot").0, "snapshot");
    for _ in 0..2 {
        assert_eq!(events.any().await, Some(("heartbeat".to_owned(), json!({}))));
    }
}

pub async fn events_end_with_the_session(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("{}/events", path_of(&project));
    let mut events = me.events(&path).await;
    events.next().await.expect("a snapshot");
    // Changes while nothing is live are sent as well.
    me.patch(&path_of(&project), json!({"name": "Renamed"})).await.json(200);
    let (name, renamed) = events.next().await.expect("a status");
    assert_eq!((name.as_str(), &renamed["name"]), ("status", &json!("Renamed")));
    me.post(&format!("{}/destinations", path_of(&project)), destination("rtmp://a.example/live", "a-key"))
        .await
        .json(201);
    events.until(|project| project["destinations"].as_array().is_some_and(|all| all.len() == 1)).await;

    me.post("/api/auth/logout", Value::Null).await.empty(204);
    events.ended().await;
}

pub async fn relays_start_and_stop_on_request(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let (one, two) =
        (Platform::start(Behaviour::default()).await.unwrap(), Platform::start(Behaviour::default()).await.unwrap());
    let path = format!("{}/destinations", path_of(&project));
    let mut ids = Vec::new();
    for (platform, key) in [(&one, "key-one?a=b&c=d"), (&two, "key-two")] {
        let made = me.post(&path, destination(&format!("rtmp://{}/live", platform.address()), key)).await.json(201);
        ids.push(text(&made["id"]).to_owned());
    }
    let mut events = me.events(&format!("{}/events", path_of(&project))).await;
    let states = |project: &Value| -> Vec<String> {
        let all = project["destinations"].as_array().unwrap();
        all.iter().map(|destination| text(&destination["relay"]["state"]).to_owned()).collect()
    };
    let mut encoder = publish(app, &project).await;
    events.until(|project| project["status"] == "live" && states(project) == ["off", "off"]).await;

    for id in &ids {
        me.post(&format!("/api/destinations/{id}/relay/start"), Value::Null).await.json(200);
    }
    let more = Script { start: 8_000, ms: 60_000, ..Script::default() }.frames();
    let sending = tokio::spawn(async move { encoder.send_paced(&more, 1.0).await });
    let live = events.until(|project| states(project) == ["live", "live"]).await;
    assert!(live["destinations"][0]["relay"]["sentBytes"].as_u64().is_some_and(|bytes| bytes > 0));
    me.post(&format!("/api/destinations/{}/relay/stop", ids[0]), Value::Null).await.json(200);
    events.until(|project| states(project) == ["off", "live"]).await;
    me.delete(&format!("/api/destinations/{}", ids[1])).await.empty(204);
    events.until(|project| states(project) == ["off"]).await;

    let scrape = app.metrics().get("/metrics").await.text();
    assert!(scrape.contains("gostream_streams_live 1"), "{scrape}");
    assert!(scrape.contains("gostream_relays{state=\"off\"} 1"), "{scrape}");
    let received = format!("gostream_stream_received_bytes_total{{project=\"{}\"}}", text(&project["id"]));
    assert!(scrape.contains(&received), "{scrape}");
    sending.abort();
    assert_eq!(end_reason_after(&me, &project).await, "ended_by_owner");
}

async fn end_reason_after(me: &Client, project: &Value) -> String {
    me.post(&format!("{}/stream-key", path_of(project)), Value::Null).await.json(200);
    let path = format!("{}/streams", path_of(project));
    history_until(me, &path, |page| page["items"][0]["endedAt"] != Value::Null).await;
    end_reason(me, project).await
}
