//! Simulates encoders that send odd streams: normal streams, modified in several ways at once, go through publisher,
//! ring, feed and HLS on a simulated clock. [`outputs`] checks what every output must hold in all cases.
//!
//! `make chaos` runs it for minutes with new seeds; `make chaos SEED=…` repeats a seed that failed.

mod bends;
mod outputs;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gostream_testkit::random::Random;
use tokio::time::Instant;

use super::live;
use crate::show::writer::Publisher;
use bends::{Act, Show};
use outputs::Outputs;

/// Number of seeds in a short run.
const SEEDS: u64 = 40;
/// Interval of the readers, in ms.
const READ_MS: i64 = 40;

/// Plays the stream of a seed; the error describes the violated invariant.
fn play(seed: u64) -> Result<(), String> {
    let show = Show::drawn(&mut Random::seeded(seed));
    let live = live();
    let ticket = live.take_seat();
    let born = Instant::now();
    let mut publisher = Some(Publisher::new(Arc::clone(&live), ticket));
    let mut outputs = Outputs::new(&live.broadcast);
    let mut read_ms = 0;
    for (at_ms, act) in &show.acts {
        while read_ms + READ_MS <= *at_ms {
            read_ms += READ_MS;
            if let Some(publisher) = &mut publisher {
                publisher.flush(born + Duration::from_millis(read_ms.unsigned_abs()));
            }
            outputs.read();
        }
        match act {
            Act::Send(media) => {
                let publisher = publisher.get_or_insert_with(|| Publisher::new(Arc::clone(&live), live.take_seat()));
                publisher.push(media.clone(), born + Duration::from_millis(at_ms.unsigned_abs()));
            }
            Act::Drop => drop(publisher.take()),
        }
    }
    outputs.read();
    outputs.finish().check(&show).map_err(|wrong| format!("seed {seed}: {wrong}\n{:#?}", show.bends))
}

#[test]
fn bent_streams_hold_at_every_output() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("BENT_SEED") {
        return play(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    let Some(seconds) = number("BENT_SECONDS") else {
        let wrong: Vec<_> = (0..SEEDS).filter_map(|seed| play(seed).err()).collect();
        assert!(wrong.is_empty(), "{} of {SEEDS}:\n{}", wrong.len(), wrong.join("\n"));
        return;
    };
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64 % 1_000_000_000);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = first;
    while Instant::now() < until {
        play(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        seed += 1;
    }
    println!("bent streams: {} shows from seed {first} on, all invariants held", seed - first);
}
