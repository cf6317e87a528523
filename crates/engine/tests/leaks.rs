//! A destination that repeatedly restarts leaks no file descriptor, no task and no memory.
//!
//! This is a test program of its own, because the figures belong to the whole process.

#[allow(dead_code, reason = "the live tests use the rest")]
#[path = "live/stage.rs"]
mod stage;

use std::time::Duration;

use gostream_engine::{spec::ProjectSpec, status::RelayState};
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::{
    runtime::Handle,
    time::{Instant, interval, timeout},
};

use stage::Stage;

/// Poll interval for conditions without a notification.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const RESTARTS: u32 = 20;
/// Allowed growth, for allocators and for the ring, which holds 10 s of 0.6 Mbit/s.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

/// Resources of the process.
#[derive(Clone, Copy, Debug)]
struct Resources {
    files: usize,
    tasks: usize,
    memory_kib: u64,
}

impl Resources {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("is Linux");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is there");
        Self {
            files: std::fs::read_dir("/proc/self/fd").expect("is Linux").count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            memory_kib: resident.trim().trim_end_matches(" kB").parse().expect("is a number"),
        }
    }
}

/// Kills the platform and starts another one in its place. Returns it with the time until its first video message.
async fn restart(stage: &Stage, spec: &ProjectSpec, platform: Platform) -> (Platform, Duration) {
    let address = platform.address();
    stage.until_relay(spec, 0, RelayState::Live).await;
    platform.stop().await;
    let platform = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
    let began = Instant::now();
    // A retry may be requested before the loss was detected, so it is repeated.
    let mut looks = interval(POLL_INTERVAL);
    let asking = async {
        loop {
            looks.tick().await;
            stage.engine.retry(spec.id, spec.destinations[0].id);
        }
    };
    tokio::select! {
        () = asking => {}
        _ = platform.until_video(3) => {}
    }
    stage.until_relay(spec, 0, RelayState::Live).await;
    (platform, began.elapsed())
}

// One thread for all tasks: each thread has a task of its own for its ticks.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn twenty_restarts_of_a_destination_leak_nothing() {
    let stage = Stage::new().await;
    let mut platform = Platform::start(Behaviour::default()).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let sending = tokio::spawn(async move {
        // Longer than the test, which aborts it.
        let _ = encoder.send_paced(&Script { ms: 120_000, ..Script::default() }.write(), 1.0).await;
    });
    platform.until_video(3).await;
    // In the first round, libraries allocate what they keep.
    (platform, _) = restart(&stage, &spec, platform).await;
    let before = Resources::now();
    for round in 2..=RESTARTS + 1 {
        let took;
        (platform, took) = restart(&stage, &spec, platform).await;
        assert!(took < Duration::from_secs(3), "back after {took:?}");
        let status = stage.until_relay(&spec, 0, RelayState::Live).await;
        assert!(status.relays[&spec.destinations[0].id].reconnects >= round, "each loss is counted");
    }
    let mut looks = interval(POLL_INTERVAL);
    let settled = async {
        loop {
            looks.tick().await;
            let now = Resources::now();
            if now.files <= before.files && now.tasks <= before.tasks {
                return now;
            }
        }
    };
    let Ok(after) = timeout(PATIENCE, settled).await else {
        panic!("a resource leaked: {before:?}, then {:?}", Resources::now());
    };
    println!("before: {before:?}; after {RESTARTS} restarts: {after:?}");
    assert!(after.memory_kib < before.memory_kib + GROWTH_KIB_MAX, "{before:?}, then {after:?}");
    sending.abort();
}
