//! For every documented route with an id: only its owner finds the object.

use serde_json::{Value, json};

use crate::{
    app::{TestApp, destination, text},
    http::Call,
};

/// A body that the owner could send.
fn body(method: &str, path: &str) -> Option<Value> {
    match (method, path) {
        ("patch", _) => Some(json!({"name": "Mine now"})),
        ("post", "/api/projects/{id}/destinations") => Some(destination("rtmp://evil.example/live", "their-key")),
        _ => None,
    }
}

pub async fn every_route_hides_objects_of_other_accounts(app: &TestApp) {
    let (me, other) = (app.user("me@example.org").await, app.user("other@example.org").await);
    let project = app.project(&me).await;
    let project_path = format!("/api/projects/{}", text(&project["id"]));
    let path = format!("{project_path}/destinations");
    let mine = me.post(&path, destination("rtmp://a.example/live", "a-key-1234")).await.json(201);
    let before = me.get(&project_path).await.json(200);

    let document = app.client.get("/api/openapi.json").await.json(200);
    let (mut private, mut anonymous) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation.get("security").is_some_and(|security| *security == json!([{}])) {
                continue;
            }
            let call = |id: &Value| {
                let call = Call::new(method, &path.replace("{id}", text(id)));
                match body(method, path) {
                    Some(body) => call.json(&body),
                    None => call,
                }
            };
            let id = if path.starts_with("/api/destinations/") { &mine["id"] } else { &project["id"] };
            anonymous += 1;
            app.client.send(call(id)).await.problem(401, "unauthorized");
            if path.contains("{id}") {
                private += 1;
                other.send(call(id)).await.problem(404, "not_found");
                let nobodys = json!("0190b0a0-0000-7000-8000-000000000000");
                other.send(call(&nobodys)).await.problem(404, "not_found");
            }
        }
    }
    assert!(private >= 12 && anonymous >= 17, "{private} {anonymous}");
    assert_eq!(me.get(&project_path).await.json(200), before, "the project is unchanged");
    assert_eq!(other.get("/api/projects").await.json(200), json!([]));
}
