//! Latencies and failures per kind of request.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// The results.
#[derive(Debug, Default)]
pub struct Tally {
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    times: Vec<Duration>,
    errors: usize,
}

impl Tally {
    /// Records a finished request.
    pub fn count(&mut self, kind: &'static str, took: Duration, outcome: &anyhow::Result<()>) {
        let entry = self.kinds.entry(kind).or_default();
        entry.times.push(took);
        if let Err(error) = outcome {
            entry.errors += 1;
            eprintln!("{kind}: {error:#}");
        }
    }

    /// Failed requests.
    pub fn errors(&self) -> usize {
        self.kinds.values().map(|kind| kind.errors).sum()
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        let mut table =
            String::from("| request | requests | errors | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|\n");
        let mut all = Kind::default();
        for (name, kind) in &self.kinds {
            all.times.extend(&kind.times);
            all.errors += kind.errors;
            table += &row(name, kind);
        }
        table + &row("all", &all)
    }
}

fn row(name: &str, kind: &Kind) -> String {
    let mut times = kind.times.clone();
    times.sort_unstable();
    let at = |per_mille: usize| {
        let index = (times.len() * per_mille / 1_000).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    };
    let mut row = String::new();
    let _ = writeln!(
        row,
        "| {name} | {} | {} | {:.1} | {:.1} | {:.1} |",
        times.len(),
        kind.errors,
        at(500),
        at(990),
        at(1_000)
    );
    row
}
