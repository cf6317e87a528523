//! A destination with a delay, from the request to the platform.

use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout};

use crate::{
    app::{TestApp, destination, text},
    http::Client,
};

async fn until(me: &Client, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let answer = me.get(path).await.json(200);
            if wanted(&answer) {
                return answer;
            }
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{path} was never {what}"))
}

pub async fn a_destination_gets_the_stream_with_a_delay(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    let platform = Platform::start(Behaviour::default()).await.unwrap();
    let mut new = destination(&platform.url(), "the-secret-key");
    new["enabled"] = json!(true);
    for wrong in [-1, 301, 1_000_000_000_000_i64] {
        new["delaySeconds"] = json!(wrong);
        let answer = me.post(&format!("{path}/destinations"), new.clone()).await;
        assert!(answer.text().contains("A delay has 0 to 300 seconds."), "{}", answer.text());
        answer.bad_fields(&["delaySeconds"]);
    }
    new["delaySeconds"] = json!(300);
    let made = me.post(&format!("{path}/destinations"), new.clone()).await.json(201);
    assert_eq!(made["delaySeconds"], 300);
    let of_made = format!("/api/destinations/{}", text(&made["id"]));
    me.patch(&of_made, json!({ "delaySeconds": 301 })).await.bad_fields(&["delaySeconds"]);
    let renamed = me.patch(&of_made, json!({ "name": "Later" })).await.json(200);
    assert_eq!(renamed["delaySeconds"], 300, "other fields are unchanged");
    let changed = me.patch(&of_made, json!({ "delaySeconds": 2 })).await.json(200);
    assert_eq!(changed["delaySeconds"], 2);
    let log = me.get("/api/auth/audit").await.json(200);
    let change = log[0].to_string();
    assert!(change.contains("destination_changed") && change.contains("delaySeconds"), "{change}");

    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        let all = Script { ms: 10_000, ..Script::default() }.write();
        encoder.send_paced(&all, 1.0).await.expect("is taken");
        encoder.stop().await.expect("says goodbye");
    });
    let relay = |project: &Value| project["destinations"][0]["relay"].clone();
    let live = until(&me, &path, "live", |project| relay(project)["state"] == "live").await;
    assert!(began.elapsed() >= Duration::from_secs(2), "two seconds later: {:?}", began.elapsed());
    assert_eq!((&relay(&live)["delayMs"], &live["stream"]["restUntil"]), (&json!(2_000), &Value::Null));
    // Shorter, then longer again, on the same connection.
    for seconds in [1, 4] {
        me.patch(&of_made, json!({ "delaySeconds": seconds })).await.json(200);
        until(&me, &path, "at its delay", |project| relay(project)["delayMs"] == seconds * 1_000).await;
    }
    let rest = until(&me, &path, "over for the encoder", |project| project["stream"]["restUntil"].is_string()).await;
    assert_eq!((&rest["status"], &relay(&rest)["state"]), (&json!("live"), &json!("live")), "it receives the rest");
    sending.await.unwrap();
    until(&me, &path, "offline", |project| project["status"] == "offline").await;
    let visits = platform.visits();
    assert!(visits.len() == 1 && visits[0].unpublished, "{} connections", visits.len());

    // The owner does not wait for the rest.
    me.patch(&of_made, json!({ "delaySeconds": 300 })).await.json(200);
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let rest = until(&me, &path, "over for the encoder", |project| project["stream"]["restUntil"].is_string()).await;
    assert_eq!(relay(&rest)["state"], "waiting", "nothing is due for five minutes");
    me.post(&format!("{path}/stream/end"), Value::Null).await.json(200);
    until(&me, &path, "offline", |project| project["status"] == "offline").await;
}
