//! The hooks of nginx-rtmp, as the module calls them.

use serde_json::Value;

use crate::{
    app::{TestApp, text},
    http::{Call, Reply},
};

const PUBLISH: &str = "/api/streams/on_publish";
const DONE: &str = "/api/streams/on_publish_done";
const FORM: &str = "application/x-www-form-urlencoded";

fn nginx(key: &str) -> String {
    format!(
        "app=live&flashver=FMLE/3.0%20(compatible)&swfurl=rtmp://h/live&tcurl=rtmp://h/live&pageurl=&addr=127.0.0.1\
         &clientid=17&call=publish&name={key}&type=live"
    )
}

#[track_caller]
fn answered(reply: &Reply, status: u16, what: &str) {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(reply.header("connection"), "close", "{what}");
    assert_eq!(reply.header("location"), "", "{what}");
}

pub async fn the_hooks_of_nginx_rtmp(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let key = text(&project["streamKey"]);
    let form = nginx(key);
    let post = |path: String, body: String| {
        let client = app.client.clone();
        async move { client.send(Call::new("POST", &path).body(FORM, &body)).await }
    };

    for (query, body, status) in [
        (String::new(), format!("name={key}"), 200),
        (format!("?name={key}"), String::new(), 200),
        (String::new(), form.clone(), 200),
        ("?name=$name".to_owned(), form.clone(), 200),
        // A key copied with white space around it.
        (String::new(), nginx(&format!("%20{key}%0D%0A")), 200),
        (format!("?name=+{key}%09"), String::new(), 200),
        (String::new(), nginx(&format!("{key}%20{key}")), 403),
        // The publisher appends a valid key to an invalid one, and the other way round.
        (String::new(), format!("{}&name={key}", nginx("wrong")), 403),
        (String::new(), format!("{form}&name=wrong"), 200),
        ("?name=$name".to_owned(), nginx("wrong"), 403),
        ("?name=wrong".to_owned(), String::new(), 403),
        (String::new(), nginx(&key.to_uppercase()), 403),
        (String::new(), nginx(""), 403),
        (String::new(), String::new(), 403),
        (String::new(), format!("{{\"name\":\"{key}\"}}"), 403),
    ] {
        let what = format!("{query} {body}");
        answered(&post(format!("{PUBLISH}{query}"), body.clone()).await, status, &what);
        // A differently spelled key must not be redirected, which would rename the stream.
        answered(&post(format!("{PUBLISH}/{query}"), body).await, status, &what);
    }
    app.client
        .send(Call::new("POST", PUBLISH).body(FORM, "name=wrong"))
        .await
        .problem(403, "unknown_stream_key");

    // `notify_method get`: the arguments after a second question mark.
    for query in [form.clone(), format!("name=x?{form}"), format!("name=x?{form}&name=wrong&call=publish")] {
        answered(&app.client.get(&format!("{PUBLISH}?{query}")).await, 200, &query);
    }
    answered(&app.client.get(&format!("{PUBLISH}?name={key}?{}", nginx("wrong"))).await, 403, "the wrong key last");

    for (path, body) in [(DONE, form.clone()), (DONE, nginx("wrong")), ("/api/streams/on_publish_done/", String::new())]
    {
        answered(&post(path.to_owned(), body.clone()).await, 200, &body);
        answered(&app.client.get(&format!("{path}?{body}")).await, 200, &body);
    }
    let after = me.get(&format!("/api/projects/{}", text(&project["id"]))).await.json(200);
    assert_eq!((&after["status"], &after["stream"]), (&Value::from("offline"), &Value::Null));

    // The exact bytes: HTTP/1.0, and the response ends with the connection.
    let request = format!(
        "POST {PUBLISH}?name=STATIC$ HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\nConnection: Close\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = app.client.raw(&request).await;
    assert_eq!(answer.as_bytes().get(9), Some(&b'2'), "the module reads the tenth byte only: {answer}");
    let keep_alive = format!("GET {PUBLISH}?name={key} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
    assert!(app.client.raw(&keep_alive).await.starts_with("HTTP/1.1 200"), "closed despite keep-alive");
}
