//! DNS rebinding: the egress rules apply to the address of each connection.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use gostream_engine::{
    EngineConfig,
    spec::ProjectSpec,
    status::{PullState, RelayState, StreamPhase},
};
use gostream_net::{BoxFuture, Resolve};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Deviation, Platform, Step},
    script::Script,
};
use tokio::net::TcpListener;

use crate::{
    pull::{pull, until_pull},
    stage::{ACCOUNT, Stage, config, destination},
};

/// The allowed address, in place of a public one.
const PUBLIC: &str = "127.0.0.1";
/// An address in the server's own network, written in three ways.
const PRIVATE: [&str; 3] = ["127.0.0.2", "::ffff:127.0.0.2", "::ffff:7f00:2"];
/// Addresses of metadata services and private networks.
const ELSEWHERE: [&str; 3] = ["169.254.169.254", "::ffff:10.0.0.1", "fd00:ec2::254"];

/// An attacker's name server: each lookup of a name returns the next result, and the last one for ever.
#[derive(Debug, Default)]
struct Fickle(Mutex<HashMap<&'static str, VecDeque<Vec<IpAddr>>>>);

impl Fickle {
    fn with(answers: &[(&'static str, &[&[&str]])]) -> Arc<Self> {
        let parse = |text: &&str| text.parse().expect("is an address");
        let of_name = |answers: &[&[&str]]| answers.iter().map(|list| list.iter().map(parse).collect()).collect();
        let names = answers.iter().map(|(name, answers)| (*name, of_name(answers))).collect();
        Arc::new(Self(Mutex::new(names)))
    }
}

impl Resolve for Fickle {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut names = self.0.lock().expect("no test panics inside");
        let answers = names.get_mut(host).expect("is a name of this test");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let found = answer.expect("has an answer").into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// A server that may reach [`PUBLIC`] and uses this name server.
async fn stage(answers: &[(&'static str, &[&[&str]])]) -> Stage {
    let egress_allow = vec![PUBLIC.parse::<IpAddr>().expect("is an address").into()];
    Stage::with(EngineConfig { resolver: Fickle::with(answers), egress_allow, ..config() }).await
}

/// A connection would be in the neighbour's accept queue.
fn assert_not_contacted(neighbour: TcpListener) {
    let neighbour = neighbour.into_std().expect("is a socket");
    let accepted = neighbour.accept().expect_err("nobody connected");
    assert_eq!(accepted.kind(), io::ErrorKind::WouldBlock);
}

/// A server whose relays may reach only [`PUBLIC`], a platform there, and a private neighbour on the same port that
/// must not be contacted.
struct Scene {
    stage: Stage,
    platform: Platform,
    neighbour: TcpListener,
}

impl Scene {
    async fn new(behaviour: Behaviour, answers: &[(&'static str, &[&[&str]])]) -> Self {
        let stage = stage(answers).await;
        let platform = Platform::start(behaviour).await.expect("listens");
        let neighbour = (PRIVATE[0], platform.address().port());
        let neighbour = TcpListener::bind(neighbour).await.expect("is free");
        Self { stage, platform, neighbour }
    }

    /// A live project with one destination.
    async fn project_at(&self, name: &str) -> (ProjectSpec, Encoder) {
        let url = format!("rtmp://{name}:{}/app", self.platform.address().port());
        let mut spec = self.stage.project("key", &[]);
        spec.destinations = vec![destination(0, &url)];
        self.stage.save(&spec);
        let mut encoder = Encoder::publish(self.stage.address, "key").await.expect("is admitted");
        encoder.send_all(&Script::default().write()).await.expect("is taken");
        (spec, encoder)
    }

    /// The relay is refused, and the neighbour was not contacted.
    async fn assert_refused(self, spec: &ProjectSpec) {
        let status = self.stage.until_relay(spec, 0, RelayState::Rejected).await;
        let error = status.relays[&spec.destinations[0].id].last_error.clone().expect("says why");
        assert_eq!(error.code, "address_forbidden");
        assert!(error.message.contains(".example is in a private network"), "{}", error.message);
        assert_not_contacted(self.neighbour);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn name_rebound_to_a_private_address_is_refused() {
    for private in PRIVATE.into_iter().chain(ELSEWHERE) {
        let leaves = Behaviour { close_after: Some(Duration::from_millis(300)), ..Behaviour::default() };
        let scene = Scene::new(leaves, &[("moves.example", &[&[PUBLIC], &[private]])]).await;
        let (spec, _encoder) = scene.project_at("moves.example").await;
        let first = scene.platform.until("the first visit", |visits| visits.len() == 1).await;
        assert!(!first.is_empty(), "the first address was allowed");
        scene.assert_refused(&spec).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_public_addresses_of_a_name_are_dialed() {
    let answers: &[&[&str]] = &[&[PRIVATE[0], PRIVATE[1], PUBLIC]];
    let scene = Scene::new(Behaviour::default(), &[("both.example", answers)]).await;
    let (spec, _encoder) = scene.project_at("both.example").await;
    scene.stage.until_all_live(&spec).await;
    assert_not_contacted(scene.neighbour);
}

#[tokio::test(flavor = "multi_thread")]
async fn successful_test_does_not_allow_later_addresses() {
    let scene = Scene::new(Behaviour::default(), &[("later.example", &[&[PUBLIC], &[PRIVATE[0]]])]).await;
    let url = format!("rtmp://later.example:{}/app", scene.platform.address().port());
    let steps = scene.stage.engine.probe(ACCOUNT, &destination(0, &url).target).await.expect("is tried");
    assert!(steps.len() == 5 && steps.iter().all(|step| step.error.is_none()), "{steps:?}");
    let (spec, _encoder) = scene.project_at("later.example").await;
    scene.assert_refused(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_in_a_redirect_is_checked_as_well() {
    let neighbour = TcpListener::bind((PRIVATE[0], 0)).await.expect("binds");
    let port = neighbour.local_addr().expect("is bound").port();
    let sends_on = Deviation::Redirect(format!("rtmp://inside.example:{port}/app"));
    let names: &[(&str, &[&[&str]])] = &[("platform.example", &[&[PUBLIC]]), ("inside.example", &[&[PRIVATE[0]]])];
    let scene = Scene { neighbour, ..Scene::new(Behaviour::at(Step::Connect, sends_on), names).await };
    let (spec, _encoder) = scene.project_at("platform.example").await;
    scene.assert_refused(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_source_rebound_to_a_private_address_is_refused() {
    let front = Stage::new().await;
    front.project("key", &[]);
    let mut encoder = Encoder::publish(front.address, "key").await.expect("is admitted");
    encoder.send_all(&Script::default().write()).await.expect("is taken");
    let back = stage(&[("front.example", &[&[PUBLIC, PRIVATE[0]], &[PRIVATE[0], ELSEWHERE[0]]])]).await;
    let neighbour = TcpListener::bind((PRIVATE[0], front.address.port())).await.expect("is free");
    let spec = back.project("key", &[]);
    pull(&back, &spec, format!("front.example:{}", front.address.port()));
    back.until(spec.id, "live", |status| status.stream.phase == StreamPhase::Live).await;
    front.engine.shutdown().await;
    let status = until_pull(&back, &spec, |status| status.state == PullState::Failing).await;
    assert_eq!(status.last_error.expect("says why").code, "address_forbidden");
    assert_not_contacted(neighbour);
}
