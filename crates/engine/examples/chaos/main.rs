//! Random faults: encoders that drop, platforms that misbehave and owners who change things, all at the same time.
//! After each round the invariants are checked.
//!
//! `make chaos` runs it. The seed determines all random choices, but timing also depends on the machine, so a seed
//! reproduces a failure most of the time, not always.

mod catalogue;
mod check;
mod round;
mod show;
#[allow(dead_code, reason = "the live tests use the rest")]
#[path = "../../tests/live/stage.rs"]
mod stage;
mod tally;

use std::{
    panic,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gostream_testkit::random::Random;
use tokio::time::Instant;

use crate::tally::Tally;

const USAGE: &str = "chaos SECONDS [SEED]";

/// A task panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

#[tokio::main]
async fn main() -> ExitCode {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Relaxed);
        tell(info);
    }));
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let seed = arguments.next().map_or_else(|| Ok(seed_of_now()), |text| text.parse());
    let (Some(seconds), Ok(seed)) = (seconds, seed) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    run(Duration::from_secs(seconds), seed).await
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to type.
    Random::seeded(now.as_nanos() as u64).within(0..1_000_000)
}

/// Runs rounds until the time is over. Each has its own seed; the first round has the seed of the run.
async fn run(length: Duration, seed: u64) -> ExitCode {
    println!("chaos for {} s, seed {seed}", length.as_secs());
    let began = Instant::now();
    let (mut tally, mut rounds, mut seed) = (Tally::default(), 0, seed);
    while rounds == 0 || began.elapsed() < length {
        match tokio::spawn(round::run(seed)).await {
            Ok(outcome) if !PANICKED.load(Ordering::Relaxed) => tally.add(outcome),
            _ => {
                println!("{tally}\nround {} failed; again: make chaos SEED={seed}", rounds + 1);
                return ExitCode::FAILURE;
            }
        }
        rounds += 1;
        seed = Random::seeded(seed).within(0..1_000_000);
    }
    println!("{tally}\n{rounds} rounds in {} s, and all invariants held", began.elapsed().as_secs());
    ExitCode::SUCCESS
}
