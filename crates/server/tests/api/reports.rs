//! Reports of a stream after it ended, and of encoders that were refused.

use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
    uplink::Uplink,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::timeout;

use crate::{
    app::{TestApp, destination, text},
    http::Client,
};

async fn until(me: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let answer = me.get(path).await.json(200);
            if wanted(&answer) {
                return answer;
            }
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{path} never had the wanted state"))
}

pub async fn a_report_has_the_outcome_of_every_destination(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    let (primary, backup) =
        (Platform::start(Behaviour::default()).await.unwrap(), Platform::start(Behaviour::default()).await.unwrap());
    let refuse = Some("NetStream.Publish.Denied");
    let refuses = Platform::start(Behaviour { refuse, ..Behaviour::default() }).await.unwrap();
    let mut good = destination(&primary.url(), "the-secret-key");
    good["backupUrl"] = json!(backup.url());
    good["enabled"] = json!(true);
    let good = me.post(&format!("{path}/destinations"), good).await.json(201);
    assert_eq!(good["backupUrl"], json!(backup.url()));
    let mut bad = destination(&refuses.url(), "another-secret-key");
    bad["enabled"] = json!(true);
    me.post(&format!("{path}/destinations"), bad).await.json(201);

    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    let live = until(&me, &path, |project| {
        let [good, bad] = [0, 1].map(|n| &project["destinations"][n]);
        good["relay"]["state"] == "live"
            && good["backupRelay"]["state"] == "live"
            && good["relay"]["rttMs"].is_number()
            && bad["relay"]["state"] == "rejected"
    })
    .await;
    assert_eq!(live["destinations"][1]["backupRelay"], Value::Null);
    is_measured(app).await;
    encoder.stop().await.expect("says goodbye");

    let history = format!("{path}/streams");
    let page = until(&me, &history, |page| page["items"][0]["status"] == "ended").await;
    let stream = &page["items"][0];
    let outcomes = stream["outcomes"].as_array().expect("has outcomes");
    let of = |name: &str, leg: &str| {
        let found = outcomes
            .iter()
            .find(|o| o["destinationId"] == live["destinations"][usize::from(name == "bad")]["id"] && o["leg"] == leg);
        found.unwrap_or_else(|| panic!("{name} {leg} is missing in {outcomes:?}")).clone()
    };
    for leg in ["primary", "backup"] {
        let outcome = of("good", leg);
        assert!(outcome["liveMs"].as_u64() > Some(0) && outcome["sentBytes"].as_u64() > Some(10_000), "{outcome}");
        assert_eq!((&outcome["reconnects"], &outcome["lastMessage"]), (&json!(0), &Value::Null));
    }
    let refused = of("bad", "primary");
    assert_eq!(refused["liveMs"], json!(0));
    assert!(text(&refused["lastMessage"]).contains("refused the stream key"), "{refused}");

    let report = me.get(&format!("{history}/{}", text(&stream["id"]))).await;
    assert!(!report.text().contains("secret-key") && !report.text().contains(text(&project["streamKey"])));
    let report = report.json(200);
    let events = report["events"].as_array().expect("has events");
    let of_stream: Vec<_> = events.iter().filter(|event| event["relay"].is_null()).map(|e| text(&e["state"])).collect();
    assert_eq!(of_stream, ["live", "ended"]);
    let of_backup = events.iter().filter(|event| event["relay"]["leg"] == "backup").map(|event| text(&event["state"]));
    assert_eq!(of_backup.collect::<Vec<_>>(), ["connecting", "live", "off"]);
    let time = |event: &Value| OffsetDateTime::parse(text(&event["at"]), &Rfc3339).expect("is a time");
    assert!(events.iter().map(time).is_sorted());
    let stranger = app.user("other@example.org").await;
    stranger.get(&format!("{history}/{}", text(&stream["id"]))).await.problem(404, "not_found");
    me.get(&format!("{history}/nonsense")).await.problem(404, "not_found");

    let without = json!({ "backupUrl": null });
    let changed = me.patch(&format!("/api/destinations/{}", text(&good["id"])), without).await.json(200);
    assert_eq!((&changed["backupUrl"], &changed["backupRelay"]), (&Value::Null, &Value::Null));
    let wrong = json!({ "backupUrl": "http://b.example" });
    me.patch(&format!("/api/destinations/{}", text(&good["id"])), wrong)
        .await
        .bad_fields(&["backupUrl"]);
}

pub async fn slow_encoders_and_uplinks_are_reported(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    let platforms =
        [Platform::start(Behaviour::default()).await.unwrap(), Platform::start(Behaviour::default()).await.unwrap()];
    let uplink = Uplink::start(800, &platforms.each_ref().map(Platform::address)).await.unwrap();
    for n in 0..platforms.len() {
        let mut wanted = destination(&uplink.url(n), "key");
        wanted["enabled"] = json!(true);
        me.post(&format!("{path}/destinations"), wanted).await.json(201);
    }
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.unwrap();
    let sending = tokio::spawn(async move {
        let show = Script { ms: 120_000, frame_bytes: 12_000, ..Script::default() };
        let _ = encoder.send_paced(&show.write(), 1.0).await;
    });
    let relays = |project: &Value| [0, 1].map(|n| project["destinations"][n]["relay"].clone());
    let noticed = until(&me, &path, |project| {
        project["stream"]["notices"][0]["code"] == "uplink_too_small"
            && relays(project).iter().all(|relay| relay["state"] == "degraded")
    })
    .await;
    let message = text(&noticed["stream"]["notices"][0]["message"]);
    assert!(message.starts_with("Your server's uplink is too small: 2 destinations need "), "{message}");
    for relay in relays(&noticed) {
        assert_eq!(relay["lastError"]["code"], "uplink_too_small", "no platform is blamed: {relay}");
    }
    let page = app.metrics().get("/metrics").await.text();
    for line in ["gostream_relays{state=\"degraded\"} 2", "gostream_stream_notices{code=\"uplink_too_small\"} 1"] {
        assert!(page.lines().any(|other| other == line), "{line} in {page}");
    }
    assert!(!page.contains("gostream_relay_failures_total{code=\"uplink_too_small\"}"), "no connection failed: {page}");
    // By now it is known that the encoder keeps up.
    let well = until(&me, &path, |project| project["stream"]["speedPercent"].is_number()).await;
    assert!((95..=105).contains(&well["stream"]["speedPercent"].as_u64().unwrap()), "{}", well["stream"]);
    sending.abort();
    me.post(&format!("{path}/stream/end"), Value::Null).await.json(200);

    let history = format!("{path}/streams");
    let page = until(&me, &history, |page| page["items"][0]["status"] == "ended").await;
    let report = me.get(&format!("{history}/{}", text(&page["items"][0]["id"]))).await.json(200);
    let events = report["events"].as_array().expect("has events");
    let is_told = |state: &str, code: &str| events.iter().any(|event| event["state"] == state && event["code"] == code);
    assert!(is_told("notice", "uplink_too_small"), "{events:?}");
    let degraded: Vec<_> = events.iter().filter(|event| event["state"] == "degraded").collect();
    assert!(degraded.len() >= 2 && degraded.iter().all(|event| event["message"].is_string()), "{degraded:?}");
    let outcomes = report["stream"]["outcomes"].as_array().expect("has outcomes");
    assert!(outcomes.iter().all(|outcome| outcome["liveMs"].as_u64() > Some(6_000)), "on, if badly: {outcomes:?}");
}

async fn is_measured(app: &TestApp) {
    let series = ["relay_rtt_seconds{", "leg=\"backup\"", "relay_failures_total{code=\"key_rejected\"}"];
    let mut scrape = String::new();
    let scraped = async {
        // Failures are counted when the history is written, slightly later.
        while !series.iter().all(|series| scrape.contains(series)) {
            scrape = app.metrics().get("/metrics").await.text();
        }
    };
    assert!(timeout(PATIENCE, scraped).await.is_ok(), "{scrape}");
}

pub async fn destinations_can_wait_for_a_stopped_encoder(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    assert_eq!(project["holdAfterStop"], json!(false));
    let changed = me.patch(&path, json!({ "holdAfterStop": true })).await.json(200);
    assert_eq!((&changed["holdAfterStop"], &changed["name"]), (&json!(true), &project["name"]));

    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    until(&me, &path, |project| project["status"] == "live").await;
    encoder.stop().await.expect("says goodbye");
    let held = until(&me, &path, |project| project["status"] == "reconnecting").await;
    assert!(held["stream"]["heldUntil"].is_string());
    me.post(&format!("{path}/stream/end"), Value::Null).await.json(200);
    until(&me, &path, |project| project["status"] == "offline").await;
}

pub async fn an_unknown_key_is_shown_to_users_at_its_address(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    let mut events = me.events(&format!("{path}/events")).await;
    let (_, before) = events.next().await.expect("a snapshot");
    assert_eq!(before["unknownKey"], Value::Null);
    assert!(Encoder::publish(app.rtmp(), "mistyped").await.is_err());
    let noticed = events.until(|project| project["unknownKey"].is_object()).await;
    assert_eq!(noticed["unknownKey"]["address"], json!("127.0.0.1"));
    assert!(!noticed.to_string().contains("mistyped"));
    // The hint disappears when the stream starts.
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    events.until(|project| project["status"] == "live" && project["unknownKey"].is_null()).await;
}

pub async fn sessions_are_listed_and_ended(app: &TestApp) {
    let me = app.user("me@example.org").await;
    assert_eq!(app.client.get("/api/auth/session").await.json(200), json!({ "user": null }));
    assert_eq!(me.get("/api/auth/session").await.json(200)["user"]["email"], json!("me@example.org"));
    let credentials = json!({ "email": "me@example.org", "password": crate::app::PASSWORD });
    let mut others = Vec::new();
    for _ in 0..2 {
        let session = app.client.post("/api/auth/login", credentials.clone()).await.json(200);
        others.push(Client { token: Some(text(&session["token"]).to_owned()), ..app.client.clone() });
    }
    let listed = me.get("/api/auth/sessions").await.json(200);
    let listed = listed.as_array().expect("is a list");
    let current: Vec<_> = listed.iter().map(|session| session["current"] == true).collect();
    assert_eq!(current, [false, false, true], "newest first");
    assert!(listed.iter().all(|session| session["address"] == "127.0.0.1" && session["lastSeenAt"].is_string()));

    let stranger = app.user("other@example.org").await;
    let path = format!("/api/auth/sessions/{}", text(&listed[0]["id"]));
    stranger.delete(&path).await.problem(404, "not_found");
    me.delete(&path).await.empty(204);
    others[1].get("/api/auth/me").await.problem(401, "unauthorized");
    others[0].get("/api/auth/me").await.json(200);
    me.delete("/api/auth/sessions").await.empty(204);
    others[0].get("/api/auth/me").await.problem(401, "unauthorized");
    me.get("/api/auth/me").await.problem(401, "unauthorized");
    stranger.get("/api/auth/me").await.json(200);
}
