//! The request mix: accounts with projects, some of them live, and users who view and change them.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    random::Random,
    script::Script,
};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{client::Client, server::Server, tally::Tally};

/// Accounts; a school.
const ACCOUNTS: usize = 20;
/// Projects per account.
const PROJECTS: usize = 5;
/// Destinations per project.
const DESTINATIONS: usize = 3;
/// Live streams, each of the first project of an account, with one relay that runs for the whole test.
const LIVE: usize = 5;
/// Longer than any run.
const STREAM_MS: u32 = 600_000;
/// The password of every account.
const PASSWORD: &str = "quiet lamp under rain";
/// Request kinds, per thousand. A login deliberately takes a quarter of a second of CPU.
const KINDS: [(&str, u64); 9] = [
    ("list projects", 240),
    ("show project", 300),
    ("change destination", 100),
    ("start relay", 60),
    ("stop relay", 60),
    ("follow events", 50),
    ("HLS playlist", 148),
    ("history", 40),
    ("log in", 2),
];

/// What requests need.
pub struct Stage {
    accounts: Vec<Account>,
    playlists: Vec<String>,
    encoders: Vec<JoinHandle<()>>,
    _platform: Platform,
}

struct Account {
    email: String,
    client: Client,
    projects: Vec<Project>,
}

struct Project {
    id: String,
    /// The first destination of a live project stays enabled.
    destinations: Vec<String>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for encoder in &self.encoders {
            encoder.abort();
        }
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"))
}

/// Creates accounts, projects, destinations and streams.
pub async fn prepare(server: &Server) -> anyhow::Result<Stage> {
    let platform = Platform::start(Behaviour::default()).await?;
    let visitor = Client::new(server.http);
    let (mut accounts, mut playlists, mut encoders) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..ACCOUNTS {
        let email = format!("{n}@example.org");
        let client = visitor.visitor(n + 1);
        let session = client.post("/api/auth/signup", &json!({"email": email, "password": PASSWORD})).await?;
        let client = client.logged_in(&text(&session["token"])?);
        let mut projects = Vec::new();
        for p in 0..PROJECTS {
            let project = client.post("/api/projects", &json!({"name": format!("Project {p}")})).await?;
            let id = text(&project["id"])?;
            let is_live = p == 0 && n < LIVE;
            let destinations = destinations(&client, &id, &platform, is_live).await?;
            if is_live {
                playlists.push(format!("/hls/{}/media.m3u8", text(&project["playbackId"])?));
                encoders.push(publish(server, &text(&project["streamKey"])?).await?);
            }
            projects.push(Project { id, destinations });
        }
        accounts.push(Account { email, client, projects });
    }
    // Waits until each stream has a playlist.
    for playlist in &playlists {
        let shown = async { while visitor.get(playlist).await.is_err() {} };
        timeout(Duration::from_secs(20), shown).await.context("a stream has no preview")?;
    }
    Ok(Stage { accounts, playlists, encoders, _platform: platform })
}

async fn destinations(
    client: &Client,
    project: &str,
    platform: &Platform,
    is_live: bool,
) -> anyhow::Result<Vec<String>> {
    let mut made = Vec::new();
    for d in 0..DESTINATIONS {
        let body = json!({
            "platform": "custom", "name": format!("Destination {d}"), "rtmpUrl": platform.url(),
            "streamKey": format!("key-{project}-{d}"), "enabled": is_live && d == 0,
        });
        let destination = client.post(&format!("/api/projects/{project}/destinations"), &body).await?;
        if !(is_live && d == 0) {
            made.push(text(&destination["id"])?);
        }
    }
    Ok(made)
}

async fn publish(server: &Server, key: &str) -> anyhow::Result<JoinHandle<()>> {
    let mut encoder = Encoder::publish(server.rtmp, key).await?;
    let media = Script { ms: STREAM_MS, frame_bytes: 2_000, ..Script::default() }.write();
    Ok(tokio::spawn(async move {
        if let Err(error) = encoder.send_paced(&media, 1.0).await {
            eprintln!("an encoder lost its server: {error:#}");
        }
    }))
}

/// Sends `rate` requests per second for `lasts`.
pub async fn ask(stage: Stage, rate: u32, lasts: Duration) -> anyhow::Result<Tally> {
    let (stage, mut random) = (Arc::new(stage), Random::seeded(1));
    let (began, mut asked, mut tally) = (Instant::now(), JoinSet::new(), Tally::default());
    for n in 0..u32::try_from(lasts.as_secs())? * rate {
        let due = began + Duration::from_secs(1) * n / rate;
        sleep_until(due).await;
        let (kind, chance) = (kind(random.within(0..1_000)), random.number());
        let stage = Arc::clone(&stage);
        asked.spawn(async move {
            let outcome = one(&stage, kind, Random::seeded(chance)).await;
            (kind, due.elapsed(), outcome)
        });
        while let Some(done) = asked.try_join_next() {
            let (kind, took, outcome) = done?;
            tally.count(kind, took, &outcome);
        }
    }
    while let Some(done) = asked.join_next().await {
        let (kind, took, outcome) = done?;
        tally.count(kind, took, &outcome);
    }
    Ok(tally)
}

fn kind(mut drawn: u64) -> &'static str {
    for (name, share) in KINDS {
        match drawn.checked_sub(share) {
            Some(rest) => drawn = rest,
            None => return name,
        }
    }
    KINDS[0].0
}

async fn one(stage: &Stage, kind: &str, mut random: Random) -> anyhow::Result<()> {
    let account = random.one_of(&stage.accounts);
    let project = random.one_of(&account.projects);
    let destination = format!("/api/destinations/{}", random.one_of(&project.destinations));
    let path = format!("/api/projects/{}", project.id);
    let client = &account.client;
    match kind {
        "list projects" => client.get("/api/projects").await.map(drop),
        "show project" => client.get(&path).await.map(drop),
        "change destination" => {
            client.patch(&destination, &json!({"name": format!("Hall {}", random.within(0..100))})).await
        }
        "start relay" => client.post(&format!("{destination}/relay/start"), &json!({})).await.map(drop),
        "stop relay" => client.post(&format!("{destination}/relay/stop"), &json!({})).await.map(drop),
        "follow events" => client.first_event(&format!("{path}/events")).await,
        "HLS playlist" => client.get(random.one_of::<String>(&stage.playlists)).await.map(drop),
        "history" => client.get(&format!("{path}/streams")).await.map(drop),
        _ => {
            let body = json!({"email": account.email, "password": PASSWORD});
            client.post("/api/auth/login", &body).await.map(drop)
        }
    }
}
