//! Destinations: what is saved and shown, and starting a relay. Running relays are tested in `live`.

use serde_json::{Value, json};

use crate::app::{TestApp, destination, text};

pub async fn a_destination_is_created_changed_and_deleted(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}/destinations", text(&project["id"]));
    let created = me.post(&path, destination("rtmp://a.example/live", "live_123_abcd")).await.json(201);
    assert_eq!(created["projectId"], project["id"]);
    assert_eq!(created["streamKeyHint"], "…abcd");
    assert_eq!(created["enabled"], false);
    assert_eq!(created["relay"]["state"], "off");
    let relay = created["relay"].as_object().unwrap();
    let mut fields: Vec<_> = relay.keys().map(String::as_str).collect();
    fields.sort_unstable();
    let contract =
        "attempt delayMs droppedFrames kbps lagMs lastError nextAttemptAt reconnects rttMs sentBytes since state";
    assert_eq!(fields, contract.split(' ').collect::<Vec<_>>());

    let twitch = json!({"platform": "twitch", "name": "Mine", "rtmpUrl": "rtmp://live.twitch.tv/app",
                        "streamKey": "live_9_wxyz", "enabled": true});
    let second = me.post(&path, twitch).await.json(201);
    assert_eq!(second["relay"]["state"], "waiting", "wanted, and nothing is live");
    let shown = me.get(&format!("/api/projects/{}", text(&project["id"]))).await;
    assert_eq!(shown.json(200)["destinations"], json!([created, second]), "oldest first");
    for key in ["live_123_abcd", "live_9_wxyz"] {
        assert!(!shown.text().contains(key), "keys are never returned");
    }

    let one = format!("/api/destinations/{}", text(&created["id"]));
    let renamed = me.patch(&one, json!({"name": "Hall"})).await.json(200);
    assert_eq!((&renamed["name"], &renamed["streamKeyHint"]), (&json!("Hall"), &json!("…abcd")));
    let moved = json!({"rtmpUrl": "rtmps://b.example:443/app/", "streamKey": "other-key-7777", "platform": "kick", "enabled": true});
    let moved = me.patch(&one, moved).await.json(200);
    assert_eq!(moved["rtmpUrl"], "rtmps://b.example:443/app/");
    assert_eq!(moved["streamKeyHint"], "…7777");
    assert_eq!(moved["relay"]["state"], "waiting");

    assert_eq!(me.post(&format!("{one}/relay/stop"), Value::Null).await.json(200)["enabled"], false);
    let started = me.post(&format!("{one}/relay/start"), Value::Null).await.json(200);
    assert_eq!((&started["enabled"], &started["relay"]["state"]), (&json!(true), &json!("waiting")));
    assert_eq!(me.post(&format!("{one}/relay/start"), Value::Null).await.json(200)["enabled"], true, "idempotent");
    me.post(&format!("{one}/relay/retry"), Value::Null).await.json(200);

    me.delete(&one).await.empty(204);
    me.delete(&one).await.problem(404, "not_found");
    me.post(&format!("{one}/relay/start"), Value::Null).await.problem(404, "not_found");
}

pub async fn keys_and_urls_are_stored_unchanged(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let path = format!("/api/projects/{}/destinations", text(&app.project(&me).await["id"]));
    for (url, key) in [
        ("rtmp://b.rtmp.youtube.com/live2?backup=1", "abcd-efgh-ijkl"),
        ("rtmp://live-push.bilivideo.com/live-bvc/", "?streamname=live_1&key=a%2Fb&schedule=rtmp&pflag=1"),
        ("rtmps://dc4-1.rtmp.t.me/s/", "1234567:secret_x"),
        ("rtmp://stream.shareplay.tv", "key with space"),
        ("rtmp://h/live/input", "a/../b//c.flv"),
    ] {
        let made = me.post(&path, destination(url, key)).await.json(201);
        assert_eq!(made["rtmpUrl"], url);
        let hint: String = key.chars().skip(key.chars().count() - 4).collect();
        assert_eq!(made["streamKeyHint"], format!("…{hint}"));
    }
    let pasted = me.post(&path, destination(" rtmp://a.example/live\n", "\tlive_123_abcd \r\n")).await.json(201);
    assert_eq!((text(&pasted["rtmpUrl"]), text(&pasted["streamKeyHint"])), ("rtmp://a.example/live", "…abcd"));
}
