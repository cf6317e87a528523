//! Each class of error has its state, code, message with advice, and retry delay.

use std::{sync::Arc, time::Duration};

use gostream_engine::{
    EngineConfig,
    spec::ProjectSpec,
    status::{RelayState, RelayStatus},
};
use gostream_testkit::{
    certificate::Certificate,
    encoder::Encoder,
    platform::{Behaviour, Deviation, LiveMessage, Login, Platform, Step},
    script::Script,
};
use tokio::task::JoinSet;

use crate::stage::{Stage, config, destination};

/// The expected result for a destination that misbehaves in one way.
struct Case {
    name: String,
    /// Held so that it keeps running.
    platform: Option<Platform>,
    url: String,
    expected: Expected,
}

/// State, code, a part of the message, seconds until the next attempt.
type Expected = (RelayState, &'static str, &'static str, u64);

const NOT_RTMP: Expected = (RelayState::Backoff, "not_rtmp", "use that instead of rtmp://", 1);
const CONNECT: Expected = (RelayState::Rejected, "connect_rejected", "Check the server URL", 30);
const KEY: Expected = (RelayState::Rejected, "key_rejected", "Copy it again from the platform", 30);
const IN_USE: Expected = (RelayState::Backoff, "key_in_use", "Stop other encoders that use it", 5);
const NO_ANSWER: Expected = (RelayState::Backoff, "no_answer", "check the server URL", 1);
const LOST: Expected = (RelayState::Backoff, "connection_lost", "check your network", 1);
const ENDED: Expected = (RelayState::Backoff, "ended_by_platform", "connects again automatically", 1);
const EARLY: Expected = (RelayState::Rejected, "closed_early", "the stream key is wrong, or the stream is above", 30);
const STALLED: Expected = (RelayState::Backoff, "stalled", "lower the bitrate", 1);
const LOGIN: Expected = (RelayState::Rejected, "login_rejected", "Put them into the server URL", 30);
const REDIRECTS: Expected = (RelayState::Backoff, "redirect_loop", "redirects in a loop", 1);
const WRONG_NAME: Expected = certificate("but for platform.example. Check the server name in the URL");
const UNKNOWN_ISSUER: Expected = certificate("With a private authority, the operator of this machine can add it");
const EXPIRED: Expected = certificate("days ago by the clock of this server, which says 20");
const NOT_YET_VALID: Expected = certificate("days. This server\u{2019}s clock says 20");
const AUTHORITY: Expected = certificate("(CA:TRUE), which a server must not use for itself");
const TLS: Expected = (RelayState::Backoff, "tls", "use that instead of rtmps://", 1);
const REFUSED: Expected = (RelayState::Backoff, "connection_refused", "Check server and port", 1);
const DNS: Expected = (RelayState::Backoff, "dns", "Check the URL for a typing mistake", 1);
const FORBIDDEN: Expected =
    (RelayState::Rejected, "address_forbidden", "The operator can allow it with `egress.allow`", 30);

const fn certificate(words: &'static str) -> Expected {
    (RelayState::Backoff, "certificate", words, 1)
}

/// Long enough to become live first, and short for the test.
const SOON: Duration = Duration::from_millis(50);

/// Failures between the first byte and the permission to publish.
fn before_the_start() -> Vec<(Behaviour, Expected)> {
    let (rejected, invalid) = ("NetConnection.Connect.Rejected", "NetConnection.Connect.InvalidApp");
    let at = |step, instead, expected| (Behaviour::at(step, instead), expected);
    let redirect = Deviation::Redirect("again".to_owned());
    let login = Some(Login { user: "me", password: "secret" });
    let mut cases = vec![
        (Behaviour { mute: true, ..Behaviour::default() }, NO_ANSWER),
        at(Step::Handshake, Deviation::Close, NOT_RTMP),
        at(Step::Handshake, Deviation::Reset, NOT_RTMP),
        at(Step::Handshake, Deviation::Silence, NO_ANSWER),
        at(Step::Connect, Deviation::Refuse(rejected), CONNECT),
        at(Step::Connect, Deviation::Refuse(invalid), CONNECT),
        at(Step::Connect, redirect, REDIRECTS),
        (Behaviour { login, ..Behaviour::default() }, LOGIN),
        at(Step::CreateStream, Deviation::Refuse("NetConnection.Call.Failed"), CONNECT),
        at(Step::Publish, Deviation::Refuse("NetStream.Publish.Denied"), KEY),
        at(Step::Publish, Deviation::Refuse("NetStream.Publish.Rejected"), KEY),
        at(Step::Publish, Deviation::Refuse("NetStream.Publish.Unauthorized"), KEY),
        at(Step::Publish, Deviation::Refuse("NetStream.Publish.BadName"), IN_USE),
    ];
    for (step, expected) in [(Step::Connect, CONNECT), (Step::CreateStream, CONNECT), (Step::Publish, KEY)] {
        cases.push(at(step, Deviation::Close, expected));
        cases.push(at(step, Deviation::Reset, expected));
        cases.push(at(step, Deviation::Silence, NO_ANSWER));
    }
    cases
}

/// Failures after the platform accepted the stream.
fn while_live() -> Vec<(Behaviour, Expected)> {
    vec![
        (Behaviour { close_after: Some(SOON), ..Behaviour::default() }, LOST),
        (Behaviour { reset_after: Some(SOON), ..Behaviour::default() }, LOST),
        (Behaviour { close_after: Some(SOON), ..Behaviour::default() }, EARLY),
        (Behaviour { reset_after: Some(SOON), ..Behaviour::default() }, EARLY),
        (Behaviour::says(SOON, LiveMessage::Error("NetStream.Failed")), ENDED),
        (Behaviour::says(Duration::ZERO, LiveMessage::Error("NetStream.Publish.BadName")), ENDED),
        (Behaviour { stop_reading_after: Some(100_000), ..Behaviour::default() }, STALLED),
    ]
}

async fn platform_cases(certificates: &[(&str, Certificate, Expected)]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (behaviour, expected) in before_the_start().into_iter().chain(while_live()) {
        let name = format!("{behaviour:?}");
        let platform = Platform::start(behaviour).await.expect("listens");
        cases.push(Case { name, url: platform.url(), platform: Some(platform), expected });
    }
    let secure = |certificate: &Certificate| {
        let tls = Some(certificate.server(&[&rustls::version::TLS13]).expect("works"));
        Behaviour { tls, ..Behaviour::default() }
    };
    let mut ways: Vec<_> = certificates
        .iter()
        .map(|(name, certificate, expected)| (*name, secure(certificate), "rtmps", *expected))
        .collect();
    ways.push(("RTMPS to a plain port", Behaviour::default(), "rtmps", TLS));
    ways.push(("RTMP to a TLS port", secure(&certificates[0].1), "rtmp", NOT_RTMP));
    for (name, behaviour, scheme, expected) in ways {
        let platform = Platform::start(behaviour).await.expect("listens");
        let url = format!("{scheme}://localhost:{}/app", platform.address().port());
        cases.push(Case { name: name.to_owned(), url, platform: Some(platform), expected });
    }
    cases
}

/// Certificates that are refused. The first one is not trusted, all others are.
fn certificates() -> Vec<(&'static str, Certificate, Expected)> {
    let for_names = |names: &[&str]| Certificate::for_names(names).expect("is made");
    let valid = |years| Certificate::valid(&["localhost"], years).expect("is made");
    vec![
        ("a certificate of an unknown issuer", for_names(&["localhost", "unknown.example"]), UNKNOWN_ISSUER),
        ("a certificate for another name", for_names(&["platform.example"]), WRONG_NAME),
        ("a certificate that expired", valid(2000..2001), EXPIRED),
        ("a certificate of the future", valid(2999..3000), NOT_YET_VALID),
        ("a certificate of an authority", Certificate::authority(&["localhost"]).expect("is made"), AUTHORITY),
    ]
}

/// Addresses without a platform.
async fn address_cases() -> Vec<Case> {
    let gone = Platform::start(Behaviour::default()).await.expect("listens");
    let refused = gone.url();
    gone.stop().await;
    [
        ("nothing listens", refused.as_str(), REFUSED),
        ("no such name", "rtmp://no-such-host.invalid/app", DNS),
        ("a private address", "rtmp://10.0.0.1/app", FORBIDDEN),
    ]
    .map(|(name, url, expected)| Case { name: name.to_owned(), platform: None, url: url.to_owned(), expected })
    .into()
}

/// Waits for the expected state of destination `n`, and checks the rest.
async fn check(stage: Arc<Stage>, spec: ProjectSpec, n: usize, name: String, expected: Expected) {
    let (state, code, words, seconds) = expected;
    let id = spec.destinations[n].id;
    let is_expected =
        |relay: &RelayStatus| relay.state == state && relay.last_error.as_ref().is_some_and(|error| error.code == code);
    let what = format!("{state:?} with {code} for {name}");
    let status = stage.until(spec.id, &what, |status| status.relays.get(&id).is_some_and(is_expected)).await;
    let relay = &status.relays[&id];
    let message = relay.last_error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    assert!(message.contains(words), "{name}: {message}");
    let next = relay.next_attempt_at.expect("is tried again");
    let wait = next.duration_since(relay.since).expect("is in the future").as_secs_f64() / seconds as f64;
    assert!((0.79..1.21).contains(&wait), "{name}: waits {wait} times as long as it should");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_error_has_its_state_code_message_and_delay() {
    let certificates = certificates();
    let trusted = Some(certificates.iter().skip(1).map(|(_, certificate, _)| certificate.der.clone()).collect());
    let stage = Arc::new(Stage::with(EngineConfig { trusted, ..config() }).await);
    let mut cases = platform_cases(&certificates).await;
    cases.extend(address_cases().await);
    let mut spec = stage.project("key", &[]);
    spec.destinations = cases.iter().enumerate().map(|(n, case)| destination(n, &case.url)).collect();
    stage.save(&spec);

    // Watched from the start, so that the first delay of each is seen.
    let mut checks = JoinSet::new();
    for (n, case) in cases.iter().enumerate() {
        checks.spawn(check(Arc::clone(&stage), spec.clone(), n, case.name.clone(), case.expected));
    }
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let sending = tokio::spawn(async move {
        let show = Script { ms: 60_000, frame_bytes: 20_000, ..Script::default() };
        let _ = encoder.send_paced(&show.write(), 1.0).await;
    });
    while let Some(checked) = checks.join_next().await {
        checked.expect("is as expected");
    }
    sending.abort();
    for case in cases {
        let concurrent = case.platform.iter().flat_map(Platform::visits).map(|visit| visit.concurrent).max();
        assert_eq!(concurrent.unwrap_or_default(), 0, "{}: one connection at a time", case.name);
    }
}
