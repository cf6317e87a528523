//! Destinations over a network that loses, delays, or drops large packets: what is reported, and that it is true.

use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    link::{Conditions, Link, is_inside},
    nginx::Nginx,
    script::Script,
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use crate::show::Show;

/// 250 ms round trip, without loss.
const FAR: Conditions = Conditions { loss: 0.0, delay_ms: 125, kbps: 100_000, mtu: 1_500 };

/// A server with a destination at the far end of the link, and an encoder that sends 4 Mbit/s. Also returns the
/// destination's id.
async fn on_air(nginx: &Nginx) -> (Show, String, JoinHandle<()>) {
    let show = Show::start(&[("GOSTREAM_EGRESS_ALLOW", "10.77.0.0/24")]).await;
    let wanted =
        json!({"platform": "custom", "name": "Far", "rtmpUrl": nginx.url(), "streamKey": "key", "enabled": true});
    let path = format!("/api/projects/{}/destinations", show.project);
    let destination = show.client.post(&path, wanted).await.json(201);
    let mut encoder = Encoder::publish(show.rtmp, &show.key).await.expect("is admitted");
    let sending = tokio::spawn(async move {
        let media = Script { ms: 300_000, frame_bytes: 20_000, ..Script::default() }.write();
        let _ = encoder.send_paced(&media, 1.0).await;
    });
    (show, destination["id"].as_str().expect("has an id").to_owned(), sending)
}

async fn relay_until(show: &Show, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut relay = Value::Null;
    let looking = async {
        while !wanted(&relay) {
            let project = show.client.get(&format!("/api/projects/{}", show.project)).await.json(200);
            relay = project["destinations"][0]["relay"].clone();
        }
    };
    let found = timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "{what}: {relay}");
    relay
}

#[tokio::test(flavor = "multi_thread")]
async fn bbr_carries_a_lossy_path_and_an_overloaded_one_is_reported() {
    if !is_inside("far::bbr_carries_a_lossy_path_and_an_overloaded_one_is_reported") {
        return;
    }
    let mut link = Link::start(FAR).await.expect("is made");
    let nginx = Nginx::start_behind(&link).await.expect("starts");
    let (show, _, sending) = on_air(&nginx).await;
    relay_until(&show, "live", |relay| relay["state"] == "live").await;
    if gostream_net::congestion_control().as_deref() == Some("bbr") {
        // `cubic` would carry half a megabit per second.
        link.set(Conditions { loss: 0.01, ..FAR }).expect("is reported");
        let sent = |relay: &Value| relay["sentBytes"].as_u64().unwrap_or_default();
        let relay = relay_until(&show, "6 MB", |relay| sent(relay) > 6_000_000).await;
        assert_eq!((&relay["state"], &relay["droppedFrames"]), (&json!("live"), &json!(0)), "{relay}");
        assert!(relay["lagMs"].as_u64() < Some(1_500), "{relay}");
    }
    // More loss than `bbr` can compensate.
    link.set(Conditions { loss: 0.03, kbps: 2_000, ..FAR }).expect("is reported");
    let relay = relay_until(&show, "named", |relay| relay["lastError"]["code"] == "lossy_way").await;
    let message = relay["lastError"]["message"].as_str().expect("is a sentence");
    assert_eq!(relay["state"], "degraded");
    assert!(message.starts_with("The way to 10.77.0.2 is far and lossy (round trip "), "{message}");
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_drops_large_packets_is_reported_as_such() {
    if !is_inside("far::a_path_that_drops_large_packets_is_reported_as_such") {
        return;
    }
    let link = Link::start(Conditions { delay_ms: 5, mtu: 1_280, ..FAR }).await.expect("is made");
    let nginx = Nginx::start_behind(&link).await.expect("starts");
    let (show, id, sending) = on_air(&nginx).await;
    let relay = relay_until(&show, "given up", |relay| relay["state"] == "backoff").await;
    assert_eq!(relay["lastError"]["code"], "large_packets_lost", "{relay}");
    let tried = show.client.post(&format!("/api/destinations/{id}/test"), Value::Null).await.json(200);
    let last = tried["steps"].as_array().and_then(|steps| steps.last()).expect("has steps");
    assert_eq!((&last["step"], &last["error"]["code"]), (&json!("handshake"), &json!("large_packets_lost")), "{tried}");
    sending.abort();
}
