//! Projects whose stream is pulled from another server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use gostream_engine::{
    Admission, Engine, EngineConfig, Refusal, events,
    spec::{AccountId, Goodbye, ProjectId, ProjectSpec, StreamKey},
};
use gostream_net::BoxFuture;
use gostream_testkit::{PATIENCE, encoder::Encoder, script::Script};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    app::{TestApp, text},
    http::{Call, Client},
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Polls the project until it satisfies `wanted`; each poll is a request, so this does not spin.
async fn until(me: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let project = me.get(path).await.json(200);
            if wanted(&project) {
                return project;
            }
        }
    };
    timeout(PATIENCE, look).await.expect("gets the wanted state")
}

pub async fn a_project_has_a_pull_url(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let bare = app.project(&me).await;
    assert_eq!((&bare["pullUrl"], &bare["pull"]), (&Value::Null, &Value::Null));
    let url = "rtmp://127.0.0.1:1/live";
    let made = me.post("/api/projects", json!({"name": "Front", "pullUrl": format!(" {url} ")})).await.json(201);
    assert_eq!(made["pullUrl"], url);
    let path = format!("/api/projects/{}", text(&made["id"]));
    let tried = until(&me, &path, |project| project["pull"]["state"] == "failing").await;
    assert_eq!(tried["pull"]["lastError"]["code"], "connection_refused");
    assert_eq!(me.patch(&path, json!({"name": "Still"})).await.json(200)["pullUrl"], url, "other fields are unchanged");

    let none = me.patch(&path, json!({"pullUrl": null})).await.json(200);
    assert_eq!((&none["pullUrl"], &none["pull"]), (&Value::Null, &Value::Null));
    for bad in
        ["", "nginx.example/live", "http://nginx.example/live", "rtmp://", "rtmp://a b/live", "file:///etc/passwd"]
    {
        let refused = me.patch(&path, json!({"pullUrl": bad})).await.bad_fields(&["pullUrl"]);
        assert!(text(&refused["errors"][0]["message"]).contains("URL"), "{refused}");
        me.post("/api/projects", json!({"name": "x", "pullUrl": bad})).await.bad_fields(&["pullUrl"]);
    }
    me.patch(&path, json!({"pullUrl": 1})).await.bad_fields(&["pullUrl"]);
    me.patch(&path, json!({"pull": {"state": "live"}})).await.bad_fields(&["pull"]);
    let audit = me.get("/api/auth/audit").await.json(200);
    let changes: Vec<_> =
        audit.as_array().unwrap().iter().flat_map(|entry| entry["changes"].as_array().unwrap()).collect();
    let pulls: Vec<_> = changes.into_iter().filter(|change| change["field"] == "pullUrl").collect();
    let (set, taken) =
        (json!({"field": "pullUrl", "old": null, "new": url}), json!({"field": "pullUrl", "old": url, "new": null}));
    assert_eq!(pulls, [&taken, &set], "{audit}");
}

pub async fn hooks_start_and_end_a_pull(app: &TestApp) {
    let me = app.user("me@example.org").await;
    // The front server is the test kit's, since two of our servers with different databases never have the same key.
    let front = Front::start().await;
    let made = me.post("/api/projects", json!({"name": "Front", "pullUrl": front.url()})).await.json(201);
    let (path, key) = (format!("/api/projects/{}", text(&made["id"])), text(&made["streamKey"]).to_owned());
    front.knows(&key);
    let hook = |path: &'static str, clientid: u32| {
        let call = path.rsplit('/').next().unwrap_or_default().trim_start_matches("on_").to_owned();
        let form = format!("app=live&addr=127.0.0.1&clientid={clientid}&call={call}&name={key}&type=live");
        let client = app.client.clone();
        async move { assert_eq!(client.send(Call::new("POST", path).body(FORM, &form)).await.status, 200) }
    };
    let (publish, done) = ("/api/streams/on_publish", "/api/streams/on_publish_done");

    let mut encoder = Encoder::publish(front.address(), &key).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    hook(publish, 17).await;
    let live = until(&me, &path, |project| project["status"] == "live").await;
    // We admit a second publisher there, and the front server refuses it.
    hook(publish, 18).await;
    hook(done, 18).await;
    hook(done, 99).await;
    let still = me.get(&path).await.json(200);
    assert_eq!((&still["status"], &still["stream"]["id"]), (&json!("live"), &live["stream"]["id"]));

    hook(done, 17).await;
    until(&me, &path, |project| project["status"] == "offline").await;
    let streams = me.get(&format!("{path}/streams")).await.json(200);
    assert_eq!(streams["items"].as_array().map(Vec::len), Some(1), "{streams}");
}

/// A front server: a second engine that admits one key.
struct Front {
    engine: Engine,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known(Mutex<Option<ProjectSpec>>);

impl Admission for Known {
    fn admit<'a>(&'a self, key: &'a StreamKey, _peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        let spec = self.0.lock().unwrap().clone().filter(|spec| spec.stream_key == *key);
        Box::pin(async move { spec.ok_or(Refusal::UnknownKey) })
    }
}

impl Front {
    async fn start() -> Self {
        let known = Arc::new(Known::default());
        let rtmp_listen = "127.0.0.1:0".parse().unwrap();
        let config = EngineConfig { rtmp_listen, ..EngineConfig::default() };
        let (events, _) = events::channel(64);
        let engine = Engine::start(config, known.clone(), events).await.unwrap();
        Self { engine, known }
    }

    fn address(&self) -> SocketAddr {
        self.engine.rtmp_addr()
    }

    fn url(&self) -> String {
        format!("rtmp://{}/live", self.address())
    }

    fn knows(&self, key: &str) {
        *self.known.0.lock().unwrap() = Some(ProjectSpec {
            id: ProjectId(Uuid::nil()),
            account: AccountId(Uuid::nil()),
            stream_key: StreamKey::new(key),
            playback_id: "front".to_owned(),
            goodbye: Goodbye::Ends,
            destinations: Vec::new(),
        });
    }
}

#[tokio::test]
async fn a_private_pull_source_is_refused_with_a_reason() {
    let app = TestApp::start(&[("egress.allow", "192.0.2.0/24")]).await;
    let me = app.user("me@example.org").await;
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "169.254.169.254", "2130706433"] {
        let made = me
            .post("/api/projects", json!({"name": host, "pullUrl": format!("rtmp://{host}/live")}))
            .await
            .json(201);
        let path = format!("/api/projects/{}", text(&made["id"]));
        let tried = until(&me, &path, |project| project["pull"]["lastError"] != Value::Null).await;
        let error = &tried["pull"]["lastError"];
        assert_eq!(error["code"], "address_forbidden", "{host}");
        assert!(text(&error["message"]).contains("private network"), "{error}");
    }
    app.stop().await;
}
