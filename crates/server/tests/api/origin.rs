//! The session cookie: it permits reading, and writing only from the server's own page.

use serde_json::json;

use crate::{
    app::{PASSWORD, TestApp},
    http::{Call, Client},
};

pub async fn a_cookie_alone_reads_and_same_origin_writes(app: &TestApp) {
    let signup = app.client.post("/api/auth/signup", json!({"email": "me@example.org", "password": PASSWORD})).await;
    let cookie = signup.header("set-cookie").split(';').next().unwrap().to_owned();
    let send = |call: Call| {
        let (client, call) = (app.client.clone(), call.header("cookie", &cookie));
        async move { client.send(call).await }
    };
    let create = || Call::new("POST", "/api/projects").json(&json!({"name": "x"}));
    let ours = format!("http://{}", app.client.address);

    send(Call::new("GET", "/api/projects")).await.json(200);
    send(create()).await.problem(403, "bad_origin");
    for origin in
        ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", &format!("{ours}.evil.example")]
    {
        send(create().header("origin", origin)).await.problem(403, "bad_origin");
    }
    send(create().header("sec-fetch-site", "cross-site")).await.problem(403, "bad_origin");
    send(create().header("sec-fetch-site", "same-site")).await.problem(403, "bad_origin");
    send(create().header("origin", &ours)).await.json(201);
    send(create().header("sec-fetch-site", "same-origin")).await.json(201);
    send(Call::new("POST", "/api/auth/logout")).await.problem(403, "bad_origin");
    send(Call::new("POST", "/api/auth/logout").header("origin", &ours)).await.empty(204);
    send(Call::new("GET", "/api/projects")).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_public_url_is_an_origin_and_the_base_of_links() {
    let app = TestApp::start(&[("public_url", "https://stream.example.org/")]).await;
    let signup = app.client.post("/api/auth/signup", json!({"email": "me@example.org", "password": PASSWORD})).await;
    let cookie = signup.header("set-cookie");
    assert!(cookie.contains("Secure"), "{cookie}");
    let create = Call::new("POST", "/api/projects").json(&json!({"name": "x"}));
    let create = create
        .header("cookie", cookie.split(';').next().unwrap())
        .header("origin", "https://stream.example.org");
    let project = app.client.send(create).await.json(201);
    let (id, key) = (project["playbackId"].as_str().unwrap(), project["streamKey"].as_str().unwrap());
    assert_eq!(project["previewUrl"], format!("https://stream.example.org/hls/{id}/index.m3u8"));
    assert_eq!(project["legacyHlsUrl"], format!("https://stream.example.org/hls/{key}.m3u8"));
    assert_eq!(project["ingestUrl"], format!("rtmp://stream.example.org:{}/live", app.rtmp().port()));
    app.stop().await;
}

/// `__Host-` prevents sites on the same domain from setting the cookie. Sessions under the old name remain valid.
#[tokio::test]
async fn over_https_the_cookie_has_the_host_prefix_and_the_old_name_is_still_read() {
    let app = TestApp::start(&[]).await;
    let credentials = json!({"email": "me@example.org", "password": PASSWORD});
    let signup = Call::new("POST", "/api/auth/signup").json(&credentials).header("x-forwarded-proto", "https");
    let signup = app.client.send(signup).await;
    let set = signup.header("set-cookie").to_owned();
    assert!(set.starts_with("__Host-gostream_session="), "{set}");
    for part in ["Secure", "Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    let token = signup.json(201)["token"].as_str().expect("is text").to_owned();
    let ask = |cookie: String| {
        let call = Call::new("GET", "/api/auth/me").header("cookie", &cookie).header("x-forwarded-proto", "https");
        let client = Client { token: None, ..app.client.clone() };
        async move { client.send(call).await }
    };
    ask(format!("__Host-gostream_session={token}")).await.json(200);
    ask(format!("gostream_session={token}")).await.json(200);
    ask(format!("gostream_session=planted; __Host-gostream_session={token}")).await.json(200);
    ask(format!("gostream_session={token}; __Host-gostream_session=ended"))
        .await
        .problem(401, "unauthorized");
    app.stop().await;
}

#[tokio::test]
async fn without_a_public_url_the_request_determines_it() {
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let create = |host: &str| Call::new("POST", "/api/projects").json(&json!({"name": "x"})).header("host", host);
    let project = me.send(create("tv.example:8443").header("x-forwarded-proto", "https")).await.json(201);
    assert!(project["legacyHlsUrl"].as_str().unwrap().starts_with("https://tv.example:8443/hls/"), "{project}");
    assert_eq!(project["ingestUrl"], format!("rtmp://tv.example:{}/live", app.rtmp().port()));
    let project = me.send(create("[::1]:80")).await.json(201);
    assert!(project["ingestUrl"].as_str().unwrap().starts_with("rtmp://[::1]:"), "{project}");
    let nobody = Client { token: None, ..me };
    nobody.send(create("tv.example")).await.problem(401, "unauthorized");
    app.stop().await;
}
