//! One account against the others: names that are never resolved, and endless destination tests.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gostream_engine::{EngineConfig, spec::AccountId, status::ProbeStep};
use gostream_net::{BoxFuture, Resolve};
use gostream_testkit::{
    PATIENCE,
    platform::{Behaviour, Platform},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::stage::{ACCOUNT, Stage, config, destination};

/// A resolver that never answers for `*.silent.example`; every other name is this machine.
#[derive(Debug)]
struct Silent {
    asking: AtomicUsize,
    asked: Semaphore,
}

/// Counts a lookup while it is pending.
struct Asking<'a>(&'a Silent);

impl<'a> Asking<'a> {
    fn begin(names: &'a Silent) -> Self {
        names.asking.fetch_add(1, Ordering::SeqCst);
        names.asked.add_permits(1);
        Self(names)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Resolve for Silent {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if host.ends_with(".silent.example") {
                let _asking = Asking::begin(self);
                std::future::pending::<()>().await;
            }
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        })
    }
}

async fn stage() -> (Arc<Stage>, Arc<Silent>) {
    let names = Arc::new(Silent { asking: AtomicUsize::new(0), asked: Semaphore::new(0) });
    let stage = Stage::with(EngineConfig { resolver: names.clone(), ..config() }).await;
    (Arc::new(stage), names)
}

async fn try_out(stage: Arc<Stage>, account: AccountId, url: String) -> Option<Vec<ProbeStep>> {
    stage.engine.probe(account, &destination(0, &url).target).await.ok()
}

#[tokio::test]
async fn unresolved_names_of_one_account_do_not_delay_others() {
    let (stage, names) = stage().await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut crowd = JoinSet::new();
    for n in 0..200 {
        crowd.spawn(try_out(stage.clone(), ACCOUNT, format!("rtmp://n{n}.silent.example/app")));
    }
    let refused = timeout(PATIENCE, crowd.join_next()).await.expect("the queue is bounded").expect("is one");
    assert_eq!(refused.expect("does not panic"), None, "refused at once");
    let other = AccountId(Uuid::new_v4());
    let url = format!("rtmp://platform.example:{}/app", platform.address().port());
    let began = Instant::now();
    let steps = try_out(stage.clone(), other, url).await.expect("has a share of its own");
    assert!(steps.iter().all(|step| step.error.is_none()), "{steps:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "before the first lookup timed out: {:?}", began.elapsed());
    assert!(names.asking.load(Ordering::SeqCst) <= 4, "lookups of one account");
    crowd.shutdown().await;
    assert_eq!(names.asking.load(Ordering::SeqCst), 0, "nothing is left");
}

#[tokio::test]
async fn an_abandoned_test_is_cancelled() {
    let (stage, names) = stage().await;
    let trial = tokio::spawn(try_out(stage, ACCOUNT, "rtmp://a.silent.example/app".to_owned()));
    timeout(PATIENCE, names.asked.acquire()).await.expect("is asked").expect("is open").forget();
    assert_eq!(names.asking.load(Ordering::SeqCst), 1);
    trial.abort();
    assert!(trial.await.expect_err("hung up").is_cancelled());
    assert_eq!(names.asking.load(Ordering::SeqCst), 0);
}
