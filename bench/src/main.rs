//! Side-by-side measurements of GoStream, nginx-rtmp and the original design (nginx-rtmp with one FFmpeg per
//! destination), one after the other in one run, with the same clip on the same machine.
//!
//! It compares CPU time of whole server processes, memory, bytes that arrived, and the delay that a server adds. Noise
//! affects all servers alike, so the ratios are more meaningful than the figures. See `bench/README.md`.

mod api;
mod contender;
mod discard;
mod players;
mod report;
mod scenario;
mod sink;
mod source;
mod usage;
mod viewers;

use std::path::PathBuf;

use clap::Parser;

/// Compares GoStream with nginx-rtmp and FFmpeg.
#[derive(Debug, Parser)]
struct Options {
    /// The server to measure.
    #[arg(long, default_value = "target/release/gostream")]
    server: PathBuf,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only servers whose name contains this.
    #[arg(long, default_value = "")]
    contender: String,
    /// Duration of each measurement in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds before that, for caches and windows to fill: a show lasts hours.
    #[arg(long, default_value_t = 16)]
    warm_up: u64,
    /// Directory for the JSON and the plot.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // The sinks decrypt, and the source must not be delayed; the reference machine has two cores.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let results = runtime.block_on(scenario::run_all(&options))?;
    println!("\n{}", report::table(&results));
    report::write(&options.out, &results)?;
    println!("JSON and plot: {}", options.out.display());
    Ok(())
}
