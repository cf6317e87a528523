//! Removing an intruder: each way to revoke access against each way to keep it.

use std::time::Duration;

use futures::{
    future::join,
    stream::{self, StreamExt as _},
};
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    app::{PASSWORD, TestApp, destination, text},
    http::{Call, Client, Events, Reply},
};

/// Everything that was revoked must have ended within this time.
const BOUND: Duration = Duration::from_secs(15);
/// Each scene hashes several passwords, and some wait for a sweep.
const SCENES_AT_ONCE: usize = 2;
const NEW_PASSWORD: &str = "purple stone over wind";

/// The access of an intruder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// The same session as the owner's, copied from the browser, with an event stream.
    Copied,
    /// A session of the intruder, started with the known password, with an event stream.
    Login,
    /// An API token, with an event stream.
    Token,
    /// The stream key: a live encoder, a connecting one, and a viewer of the classic playlist.
    StreamKey,
}

use Hold::{Copied, Login, StreamKey, Token};

/// A way to revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    LogOut,
    EndSession,
    SignOut,
    SignOutKeepingTokens,
    SignOutRenewing,
    Password,
    PasswordKeepingTokens,
    PasswordRenewing,
    CliPassword,
    CliSignOut,
    CliSignOutRenewing,
    CliRemove,
    TokenDeleted,
    TokenExpired,
    KeyRenewed,
    ProjectDeleted,
}

/// What each way ends. Access that is not listed continues.
const MATRIX: [(Way, &[Hold]); 16] = [
    (Way::LogOut, &[Copied]),
    (Way::EndSession, &[Login]),
    (Way::SignOut, &[Copied, Login, Token]),
    (Way::SignOutKeepingTokens, &[Copied, Login]),
    (Way::SignOutRenewing, &[Copied, Login, Token, StreamKey]),
    (Way::Password, &[Copied, Login, Token]),
    (Way::PasswordKeepingTokens, &[Copied, Login]),
    (Way::PasswordRenewing, &[Copied, Login, Token, StreamKey]),
    (Way::CliPassword, &[Copied, Login, Token]),
    (Way::CliSignOut, &[Copied, Login, Token]),
    (Way::CliSignOutRenewing, &[Copied, Login, Token, StreamKey]),
    (Way::CliRemove, &[Copied, Login, Token, StreamKey]),
    (Way::TokenDeleted, &[Token]),
    (Way::TokenExpired, &[Token]),
    (Way::KeyRenewed, &[StreamKey]),
    // It concerns the project, so its event streams end as well.
    (Way::ProjectDeleted, &[StreamKey]),
];

/// An account with an intruder.
struct Scene<'a> {
    app: &'a TestApp,
    email: String,
    address: String,
    copy: Client,
    login: Client,
    token: Client,
    token_id: String,
    project: String,
    key: String,
    events: [(Hold, Events); 3],
    encoder: Encoder,
    /// Connected, and will publish after the key is revoked.
    connecting: tokio::net::TcpStream,
}

pub async fn revoked_access_ends_within_seconds_for_every_way_to_hold_it(app: &TestApp) {
    stream::iter(MATRIX.iter().zip(1..))
        .for_each_concurrent(SCENES_AT_ONCE, |(&(way, ends), n)| async move {
            Scene::set(app, way, n).await.play(way, ends).await;
        })
        .await;
}

/// "End stream", then a revocation while a platform that does not read is still being unpublished: a publisher that
/// reconnected in between with the key waits for the seat and is refused. If the unpublish finishes first, it is
/// disconnected.
pub async fn a_publisher_waiting_with_a_revoked_key_is_never_live(app: &TestApp) {
    let ways =
        [Way::KeyRenewed, Way::SignOutRenewing, Way::PasswordRenewing, Way::CliSignOutRenewing, Way::ProjectDeleted];
    for (way, n) in ways.into_iter().zip(101..) {
        let mut scene = Scene::set(app, way, n).await;
        let platform = Platform::start(Behaviour { stop_reading_after: Some(50_000), ..Behaviour::default() });
        let platform = platform.await.expect("listens");
        let path = format!("/api/projects/{}", scene.project);
        let made = scene.copy.post(&format!("{path}/destinations"), destination(&platform.url(), "a-key")).await;
        let relay = format!("/api/destinations/{}/relay/start", text(&made.json(201)["id"]));
        assert_eq!(scene.copy.post(&relay, Value::Null).await.status, 200);
        scene.encoder = Encoder::publish(app.rtmp(), &scene.key).await.expect("takes over");
        let much = Script { ms: 4_000, frame_bytes: 30_000, ..Script::default() }.write();
        scene.encoder.send_all(&much).await.expect("is taken");
        platform.until_video(1).await;

        assert!(scene.copy.post(&format!("{path}/stream/end"), Value::Null).await.status < 300);
        let (address, key) = (app.rtmp(), scene.key.clone());
        let waits = tokio::spawn(async move { Encoder::publish(address, &key).await });
        // Until it is admitted and waits, which nothing outside shows.
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene.revoke(way).await;
        let answer = timeout(BOUND, waits).await.expect("is answered").expect("does not panic");
        if let Ok(mut encoder) = answer {
            timeout(BOUND, encoder.closed()).await.expect("is still connected").expect("the server closes");
        }
        assert!(Encoder::publish(app.rtmp(), &scene.key).await.is_err(), "{way:?}");
        // The preview ends with the broadcast, which lasts until the unpublish is done.
        let gone = async { while scene.counts(StreamKey).await {} };
        assert!(timeout(BOUND, gone).await.is_ok(), "{way:?}: a viewer still has access");
    }
}

impl<'a> Scene<'a> {
    async fn set(app: &'a TestApp, way: Way, n: u8) -> Self {
        let (email, address) = (format!("owner{n}@example.org"), format!("203.0.113.{n}"));
        let credentials = json!({"email": email, "password": PASSWORD});
        let session = |reply: Reply, status| {
            let token = text(&reply.json(status)["token"]).to_owned();
            Client { token: Some(token), ..app.client.clone() }
        };
        let enter =
            |path| app.client.send(Call::new("POST", path).json(&credentials).header("x-forwarded-for", &address));
        let copy = session(enter("/api/auth/signup").await, 201);
        let login = session(enter("/api/auth/login").await, 200);
        let project = app.project(&copy).await;
        let (id, key) = (text(&project["id"]).to_owned(), text(&project["streamKey"]).to_owned());
        let mut encoder = Encoder::publish(app.rtmp(), &key).await.expect("admitted");
        encoder.send_all(&Script { ms: 8_000, ..Script::default() }.write()).await.expect("taken");

        let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(8);
        let end = end.format(&time::format_description::well_known::Rfc3339).unwrap();
        let new = match way {
            Way::TokenExpired => json!({"name": "Stream deck", "expiresAt": end}),
            _ => json!({"name": "Stream deck"}),
        };
        let made = copy.post("/api/auth/tokens", new).await.json(201);
        let token = Client { token: Some(text(&made["token"]).to_owned()), ..app.client.clone() };
        let path = format!("/api/projects/{id}/events");
        let mut events = [
            (Token, token.events(&path).await),
            (Copied, copy.events(&path).await),
            (Login, login.events(&path).await),
        ];
        for (_, events) in &mut events {
            events.next().await.expect("a snapshot");
        }
        let connecting = tokio::net::TcpStream::connect(app.rtmp()).await.unwrap();
        let scene = Self {
            app,
            email,
            address,
            token_id: text(&made["id"]).to_owned(),
            project: id,
            events,
            copy,
            login,
            token,
            key,
            encoder,
            connecting,
        };
        let listed = async { while !scene.counts(StreamKey).await {} };
        timeout(PATIENCE, listed).await.expect("the stream is not listed");
        scene
    }

    /// Whether this access still works.
    async fn counts(&self, hold: Hold) -> bool {
        let status = match hold {
            Copied => self.copy.get("/api/auth/me").await.status,
            Login => self.login.get("/api/auth/me").await.status,
            Token => self.token.get("/api/auth/me").await.status,
            StreamKey => self.app.client.get(&format!("/hls/{}.m3u8", self.key)).await.status,
        };
        let refused = if hold == StreamKey { 404 } else { 401 };
        assert!([200, refused].contains(&status), "{hold:?}: {status}");
        status == 200
    }

    async fn play(mut self, way: Way, ends: &[Hold]) {
        let in_flight = self.revoke(way).await;
        let deadline = Instant::now() + BOUND;
        let dead = timeout_at(deadline, self.die(way, ends)).await;
        assert!(dead.is_ok(), "{way:?}: some access remains");
        for session in in_flight {
            session.get("/api/auth/me").await.problem(401, "unauthorized");
        }
        for hold in [Copied, Login, Token, StreamKey] {
            assert_eq!(self.counts(hold).await, !ends.contains(&hold), "{way:?}, {hold:?}");
        }
        if ends.contains(&StreamKey) {
            let again = Encoder::publish_over(self.connecting, &self.key).await;
            assert!(again.is_err(), "{way:?}: the connecting encoder went live");
            assert!(Encoder::publish(self.app.rtmp(), &self.key).await.is_err(), "{way:?}");
            assert!(Encoder::play(self.app.rtmp(), &self.key).await.is_err(), "{way:?}");
        }
    }

    /// Returns when all of it has ended.
    async fn die(&mut self, way: Way, ends: &[Hold]) {
        for (hold, events) in &mut self.events {
            if ends.contains(hold) || way == Way::ProjectDeleted {
                events.ended().await;
            }
        }
        if ends.contains(&StreamKey) {
            self.encoder.closed().await.expect("the server closes");
        }
        for &hold in ends {
            while self.counts(hold).await {}
        }
    }

    /// Revokes, and returns the sessions of concurrent logins with the old password.
    async fn revoke(&self, way: Way) -> Vec<Client> {
        let (me, project) = (&self.copy, format!("/api/projects/{}", self.project));
        match way {
            Way::LogOut => me.post("/api/auth/logout", Value::Null).await.empty(204),
            Way::EndSession => {
                let listed = me.get("/api/auth/sessions").await.json(200);
                let other = listed.as_array().unwrap().iter().find(|session| session["current"] == false).unwrap();
                me.delete(&format!("/api/auth/sessions/{}", text(&other["id"]))).await.empty(204);
            }
            Way::SignOut => me.delete("/api/auth/sessions").await.empty(204),
            Way::SignOutKeepingTokens => me.delete("/api/auth/sessions?endTokens=false").await.empty(204),
            Way::SignOutRenewing => me.delete("/api/auth/sessions?renewStreamKeys=true").await.empty(204),
            Way::Password => return self.change_password(json!({})).await,
            Way::PasswordKeepingTokens => return self.change_password(json!({"endTokens": false})).await,
            Way::PasswordRenewing => return self.change_password(json!({"renewStreamKeys": true})).await,
            Way::CliPassword => {
                let arguments = ["user", "password", &self.email];
                let change = self.app.command(&arguments, NEW_PASSWORD);
                return join(change, self.log_in_meanwhile()).await.1;
            }
            Way::CliSignOut => self.app.command(&["user", "sign-out", &self.email], "").await,
            Way::CliSignOutRenewing => {
                self.app.command(&["user", "sign-out", &self.email, "--renew-stream-keys"], "").await;
            }
            Way::CliRemove => self.app.command(&["user", "remove", &self.email], "").await,
            Way::TokenDeleted => me.delete(&format!("/api/auth/tokens/{}", self.token_id)).await.empty(204),
            // It expires within seconds.
            Way::TokenExpired => {
                let expired = async { while self.counts(Token).await {} };
                timeout(PATIENCE, expired).await.expect("the token does not expire");
            }
            Way::KeyRenewed => {
                me.post(&format!("{project}/stream-key"), Value::Null).await.json(200);
            }
            Way::ProjectDeleted => me.delete(&project).await.empty(204),
        }
        Vec::new()
    }

    async fn change_password(&self, mut body: Value) -> Vec<Client> {
        body["currentPassword"] = json!(PASSWORD);
        body["newPassword"] = json!(NEW_PASSWORD);
        let change = self.copy.post("/api/auth/password", body);
        let (reply, in_flight) = join(change, self.log_in_meanwhile()).await;
        reply.empty(204);
        in_flight
    }

    /// Logs in repeatedly with the old password; some passwords are checked before the change, some after it.
    async fn log_in_meanwhile(&self) -> Vec<Client> {
        let mut sessions = Vec::new();
        for _ in 0..3 {
            let credentials = json!({"email": self.email, "password": PASSWORD});
            let call = Call::new("POST", "/api/auth/login").json(&credentials);
            let reply = self.app.client.send(call.header("x-forwarded-for", &self.address)).await;
            if reply.status != 200 {
                reply.problem(401, "invalid_credentials");
                break;
            }
            let token = text(&reply.json(200)["token"]).to_owned();
            sessions.push(Client { token: Some(token), ..self.app.client.clone() });
        }
        sessions
    }
}
