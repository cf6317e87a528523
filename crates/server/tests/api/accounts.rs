//! Accounts: sign-up, login, logout, passwords, and password guessing.

use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, TestApp, text},
    http::{Call, Client, Reply},
};

async fn log_in(app: &TestApp, email: &str, password: &str) -> Reply {
    app.client.post("/api/auth/login", json!({"email": email, "password": password})).await
}

fn as_user(app: &TestApp, session: &Value) -> Client {
    Client { token: Some(text(&session["token"]).to_owned()), ..app.client.clone() }
}

pub async fn sign_up_log_in_and_out(app: &TestApp) {
    let credentials = json!({"email": " Me@Example.ORG ", "password": PASSWORD});
    let reply = app.client.post("/api/auth/signup", credentials).await;
    let session = reply.json(201);
    let cookie = reply.header("set-cookie").to_owned();
    for part in ["gostream_session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "a plain connection: {cookie}");
    assert_eq!(session["user"]["email"], "me@example.org");
    let me = as_user(app, &session);
    assert_eq!(me.get("/api/auth/me").await.json(200), session["user"]);
    let mut keys: Vec<_> = session["user"].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["createdAt", "email", "id"], "nothing about the password");

    let again = log_in(app, "ME@example.org", PASSWORD).await.json(200);
    assert_eq!(again["user"], session["user"]);
    let elsewhere = as_user(app, &again);

    let reply = me.post("/api/auth/logout", Value::Null).await;
    reply.empty(204);
    assert!(reply.header("set-cookie").contains("Max-Age=0"), "{}", reply.header("set-cookie"));
    me.get("/api/auth/me").await.problem(401, "unauthorized");
    me.post("/api/auth/logout", Value::Null).await.problem(401, "unauthorized");
    elsewhere.get("/api/auth/me").await.json(200);

    let nobody = app.client.get("/api/auth/me").await;
    nobody.problem(401, "unauthorized");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    let forged = Client { token: Some(format!("{}x", text(&session["token"]))), ..app.client.clone() };
    forged.get("/api/auth/me").await.problem(401, "unauthorized");
}

pub async fn a_taken_email_is_refused(app: &TestApp) {
    app.user("me@example.org").await;
    let again = json!({"email": "ME@example.org", "password": PASSWORD});
    app.client.post("/api/auth/signup", again.clone()).await.problem(409, "email_taken");
    // Two concurrent sign-ups with one address: one succeeds.
    let other = json!({"email": "other@example.org", "password": PASSWORD});
    let (one, two) =
        tokio::join!(app.client.post("/api/auth/signup", other.clone()), app.client.post("/api/auth/signup", other));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

pub async fn wrong_credentials_are_indistinguishable(app: &TestApp) {
    app.user("me@example.org").await;
    let wrong = log_in(app, "me@example.org", "quiet lamp under snow").await.problem(401, "invalid_credentials");
    let long = "x".repeat(5_000);
    for (email, password) in [("nobody@example.org", PASSWORD), ("no email", "x"), ("me@example.org", long.as_str())] {
        let unknown = log_in(app, email, password).await.problem(401, "invalid_credentials");
        assert_eq!(unknown, wrong, "the responses do not reveal whether the account exists");
    }
}

pub async fn a_new_password_ends_other_sessions(app: &TestApp) {
    let me = app.user("me@example.org").await;
    let elsewhere = as_user(app, &log_in(app, "me@example.org", PASSWORD).await.json(200));
    let new = "loud lamp under snow";
    let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});

    me.post("/api/auth/password", change("wrong", new)).await.bad_fields(&["currentPassword"]);
    me.post("/api/auth/password", change(PASSWORD, "12345678")).await.bad_fields(&["newPassword"]);
    app.client.post("/api/auth/password", change(PASSWORD, new)).await.problem(401, "unauthorized");
    let reply = me.post("/api/auth/password", change(PASSWORD, new)).await;
    reply.empty(204);

    // The session of the request may have been copied, so it is replaced as well.
    me.get("/api/auth/me").await.problem(401, "unauthorized");
    let cookie = reply.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let token = cookie.split_once("gostream_session=").unwrap().1.split(';').next().unwrap().to_owned();
    let me = Client { token: Some(token), ..app.client.clone() };
    me.get("/api/auth/me").await.json(200);
    elsewhere.get("/api/auth/me").await.problem(401, "unauthorized");
    log_in(app, "me@example.org", PASSWORD).await.problem(401, "invalid_credentials");
    log_in(app, "me@example.org", new).await.json(200);
}

pub async fn guessing_is_slowed_down(app: &TestApp) {
    // Ten attempts per account from any address; the trusted proxy on this machine names ten addresses.
    let guess = |n: u8, email: &str| {
        let body = json!({"email": email, "password": "x"});
        let call = Call::new("POST", "/api/auth/login")
            .json(&body)
            .header("x-forwarded-for", &format!("203.0.113.{n}"));
        let client = app.client.clone();
        async move { client.send(call).await }
    };
    for n in 0..10 {
        guess(n, "victim@example.org").await.problem(401, "invalid_credentials");
    }
    let reply = guess(10, "victim@example.org").await;
    reply.problem(429, "too_many_requests");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    guess(10, "somebody@example.org").await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn one_address_has_limited_attempts() {
    let app = TestApp::start(&[]).await;
    let guess = async |email: &str| app.client.post("/api/auth/login", json!({"email": email, "password": "x"})).await;
    // After ten attempts the account is locked for a while, so further attempts cost no hashing, but count for the
    // address.
    for _ in 0..70 {
        guess("victim@example.org").await;
    }
    let reply = guess("somebody@example.org").await;
    reply.problem(429, "too_many_requests");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|wait| wait <= 2));
    app.stop().await;
}

#[tokio::test]
async fn closed_signup_refuses_new_accounts() {
    let app = TestApp::start(&[("signup", "closed")]).await;
    let reply = app.client.post("/api/auth/signup", json!({"email": "a@b.c", "password": PASSWORD})).await;
    reply.problem(403, "signup_closed");
    app.stop().await;
}
