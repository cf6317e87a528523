//! Platforms that are correct in an unusual way, or redirect: the stream arrives in all cases.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use gostream_engine::{
    EngineConfig,
    spec::ProjectSpec,
    status::{RelayState, RelayStatus},
};
use gostream_proto::rtmp::{
    media::{Media, MediaKind},
    url::RtmpUrl,
};
use gostream_testkit::{
    certificate::Certificate,
    encoder::Encoder,
    platform::{Behaviour, Deviation, LiveMessage, Login, Platform, Step, Visit},
    script::Script,
};

use crate::stage::{ACCOUNT, Stage, assert_same, config, is_monotonic};

const SCRIPT: Script =
    Script { start: 0, ms: 4_000, gop_ms: 1_000, frame_bytes: 3_000, video: true, audio: true, seed: 0 };
const LOGIN: Login = Login { user: "me", password: "p@ss:word" };

/// A project whose only destination has this URL.
fn project_at(stage: &Stage, platform: &Platform, url: &str) -> ProjectSpec {
    let mut spec = stage.project("key", &[platform]);
    spec.destinations[0].target.url = RtmpUrl::parse(url).expect("is a URL");
    stage.save(&spec);
    spec
}

/// Sends the script, most of it after the first destination is live. Returns the script and the visits of `platform`,
/// the last of which ended with an unpublish.
async fn send(stage: &Stage, spec: &ProjectSpec, platform: &Platform) -> (Vec<Media>, Vec<Visit>) {
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = SCRIPT.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_relay(spec, 0, RelayState::Live).await;
    encoder.send_all(&all[10..]).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    (all, visits)
}

/// A platform with this behaviour receives everything, on one connection.
async fn takes_everything(behaviour: Behaviour) -> Platform {
    let stage = Stage::new().await;
    let platform = Platform::start(behaviour).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let (all, visits) = send(&stage, &spec, &platform).await;
    assert_eq!((visits.len(), platform.connections()), (1, 1));
    assert_same(&visits[0].media, &all);
    assert!(is_monotonic(&visits[0].media));
    platform
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_sent_byte_by_byte_are_parsed() {
    takes_everything(Behaviour { byte_by_byte: true, ..Behaviour::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_in_one_byte_chunks_are_parsed() {
    takes_everything(Behaviour { chunk_bytes: NonZeroUsize::new(1), ..Behaviour::default() }).await;
}

/// The platform refuses `publish` on any other message stream.
#[tokio::test(flavor = "multi_thread")]
async fn publish_uses_the_created_message_stream() {
    takes_everything(Behaviour { stream_id: Some(5), ..Behaviour::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_release_stream_is_accepted() {
    let code = "NetConnection.Call.Failed";
    takes_everything(Behaviour::at(Step::ReleaseStream, Deviation::Refuse(code))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_while_media_flows_and_while_it_does_not() {
    let stage = Stage::new().await;
    let ping_every = Some(Duration::from_millis(20));
    let platform = Platform::start(Behaviour { ping_every, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = SCRIPT.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    let sending = tokio::spawn(async move {
        encoder.send_paced(&all[10..], 8.0).await.expect("is taken");
        (encoder, all)
    });
    platform.until("pongs", |visits| visits.iter().any(|visit| visit.pongs >= 5)).await;
    let (encoder, all) = sending.await.expect("sends");
    let before = platform.visits()[0].pongs;
    platform.until("more pongs", |visits| visits[0].pongs >= before + 5).await;
    encoder.stop().await.expect("says goodbye");
    let visits = platform.until("the goodbye", |visits| visits[0].unpublished).await;
    assert_same(&visits[0].media, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn adobe_authentication_succeeds_with_the_right_password() {
    let stage = Stage::new().await;
    let platform = Platform::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() }).await.expect("listens");
    let url = format!("rtmp://{}:{}@{}/app", LOGIN.user, LOGIN.password, platform.address());
    let spec = project_at(&stage, &platform, &url);
    let (all, visits) = send(&stage, &spec, &platform).await;
    assert_eq!((visits.len(), platform.connections()), (1, 3), "asked, challenged, let in");
    assert_same(&visits[0].media, &all);
    assert_eq!(visits[0].key, "key-0");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_login_is_rejected_and_distinguished_from_a_wrong_key() {
    for login in ["me:wrong@", "you:p@ss:word@", ""] {
        let stage = Stage::new().await;
        let platform =
            Platform::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() }).await.expect("listens");
        let spec = project_at(&stage, &platform, &format!("rtmp://{login}{}/app", platform.address()));
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        encoder.send_all(&SCRIPT.write()).await.expect("is taken");
        let status = stage.until_relay(&spec, 0, RelayState::Rejected).await;
        let error = error_of(&status.relays[&spec.destinations[0].id]);
        assert_eq!(error.0, "login_rejected", "{login}");
        assert!(error.1.contains("rtmp://user:password@"), "{}", error.1);
        assert!(!error.1.contains("wrong") && !error.1.contains("p@ss"), "no password in {}", error.1);
        assert!(platform.visits().is_empty(), "nothing was published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn login_can_be_tested_without_publishing() {
    let stage = Stage::new().await;
    let platform = Platform::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() }).await.expect("listens");
    for (login, expected) in [("me:p@ss:word", None), ("me:wrong", Some("login_rejected"))] {
        let spec = project_at(&stage, &platform, &format!("rtmp://{login}@{}/app", platform.address()));
        let steps = stage.engine.probe(ACCOUNT, &spec.destinations[0].target).await.expect("is tried");
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        let all = ["resolve", "connect", "handshake", "rtmp_connect", "create_stream"];
        assert_eq!(names, if expected.is_none() { &all[..] } else { &all[..4] }, "each step once");
        let last = steps.last().and_then(|step| step.error.as_ref());
        assert_eq!(last.map(|error| error.code), expected, "{login}");
    }
    assert!(platform.visits().is_empty(), "nothing was published");
}

fn error_of(relay: &RelayStatus) -> (&'static str, String) {
    relay.last_error.as_ref().map(|error| (error.code, error.message.clone())).expect("says why")
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed() {
    let stage = Stage::new().await;
    let last = Platform::start(Behaviour::default()).await.expect("listens");
    let to = |url: String| Behaviour::at(Step::Connect, Deviation::Redirect(url));
    let second = Platform::start(to(last.url())).await.expect("listens");
    let first = Platform::start(to(format!("rtmp://{}/elsewhere", second.address()))).await.expect("listens");
    let spec = stage.project("key", &[&first]);
    let (all, visits) = send(&stage, &spec, &last).await;
    assert_eq!((first.connections(), second.connections(), last.connections()), (1, 1, 1));
    assert_same(&visits[0].media, &all);
    assert!(first.visits().is_empty() && second.visits().is_empty(), "no stream was published there");
}

/// Redirects are subject to the same egress rules as URLs typed by a user.
#[tokio::test(flavor = "multi_thread")]
async fn redirect_to_a_private_network_is_refused() {
    let stage = Stage::new().await;
    let to = Deviation::Redirect("rtmp://10.0.0.1/app".to_owned());
    let platform = Platform::start(Behaviour::at(Step::Connect, to)).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&SCRIPT.write()).await.expect("is taken");
    let status = stage.until_relay(&spec, 0, RelayState::Rejected).await;
    assert_eq!(error_of(&status.relays[&spec.destinations[0].id]).0, "address_forbidden");
}

/// With TLS the stream key is safe; a redirect must not send it unencrypted.
#[tokio::test(flavor = "multi_thread")]
async fn redirect_from_tls_to_plain_is_refused() {
    let certificate = Certificate::for_names(&["localhost"]).expect("is made");
    let stage = Stage::with(EngineConfig { trusted: Some(vec![certificate.der.clone()]), ..config() }).await;
    let open = Platform::start(Behaviour::default()).await.expect("listens");
    let tls = Some(certificate.server(&[&rustls::version::TLS13]).expect("works"));
    let sends_on = Behaviour { tls, ..Behaviour::at(Step::Connect, Deviation::Redirect(open.url())) };
    let platform = Platform::start(sends_on).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&SCRIPT.write()).await.expect("is taken");
    let status = stage.until_relay(&spec, 0, RelayState::Rejected).await;
    assert_eq!(error_of(&status.relays[&spec.destinations[0].id]).0, "insecure_redirect");
    assert_eq!(open.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_loop_is_detected_and_retried_later() {
    let stage = Stage::new().await;
    let to = Deviation::Redirect("again".to_owned());
    let platform = Platform::start(Behaviour::at(Step::Connect, to)).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&SCRIPT.write()).await.expect("is taken");
    let status = stage.until_relay(&spec, 0, RelayState::Backoff).await;
    let relay = &status.relays[&spec.destinations[0].id];
    assert!(relay.next_attempt_at.is_some());
    let (code, message) = error_of(relay);
    assert_eq!(code, "redirect_loop");
    assert!(message.starts_with("127.0.0.1 redirects in a loop") && !message.contains("in time"), "{message}");
    assert!((2..=6).contains(&platform.connections()), "{} connections", platform.connections());
}

/// Sends until aborted.
fn keep_sending(mut encoder: Encoder) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let _ = encoder.send_paced(&Script { ms: 60_000, ..SCRIPT }.write(), 1.0).await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_request_moves_the_stream_without_ending_it() {
    let stage = Stage::new().await;
    let there = Platform::start(Behaviour::default()).await.expect("listens");
    let say = LiveMessage::Reconnect(Some(there.url()));
    let here = Platform::start(Behaviour::says(Duration::from_millis(300), say)).await.expect("listens");
    let spec = stage.project("key", &[&here]);
    let sending = keep_sending(Encoder::publish(stage.address, "key").await.expect("is admitted"));
    let after = there.until_video(10).await;
    sending.abort();
    let before = here.visits();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert!(before[0].ended && !before[0].unpublished, "the stream continues elsewhere");
    assert!(is_monotonic(&before[0].media) && is_monotonic(&after[0].media));
    let first_frame = after[0].media.iter().find(|media| media.kind == MediaKind::Video && media.body[1] == 1);
    assert_eq!(first_frame.map(|media| (media.body[0], media.timestamp)), Some((0x17, 0)), "a keyframe, at 0");
    let status = stage.until_relay(&spec, 0, RelayState::Live).await;
    assert_eq!(status.relays[&spec.destinations[0].id].reconnects, 1);
}

/// A platform that always answers "reconnect" must not be flooded with connections.
#[tokio::test(flavor = "multi_thread")]
async fn endless_reconnect_requests_are_slowed_down() {
    let stage = Stage::new().await;
    let platform = Platform::start(Behaviour::says(Duration::ZERO, LiveMessage::Reconnect(None)))
        .await
        .expect("listens");
    let spec = stage.project("key", &[&platform]);
    let sending = keep_sending(Encoder::publish(stage.address, "key").await.expect("is admitted"));
    stage.until_relay(&spec, 0, RelayState::Backoff).await;
    assert_eq!(platform.visits().len(), 2, "once immediately, then after a pause");
    sending.abort();
}

/// A message from the platform while the last media is in transit must not cancel the unpublish.
#[tokio::test(flavor = "multi_thread")]
async fn unpublish_reaches_a_slow_platform_that_sends_messages() {
    let stage = Stage::new().await;
    let (kbps, ping_every) = (NonZeroU32::new(4_000), Some(Duration::from_millis(5)));
    let platform = Platform::start(Behaviour { kbps, ping_every, ..Behaviour::default() }).await.expect("listens");
    let mut spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { frame_bytes: 10_000, ..SCRIPT }.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    encoder.send_all(&all[10..40]).await.expect("is taken");
    platform.until_video(10).await;
    spec.destinations[0].enabled = false;
    stage.save(&spec);
    let visits = platform.until("the end", |visits| visits[0].ended).await;
    assert!(visits[0].unpublished, "after {} messages", visits[0].media.len());
}
