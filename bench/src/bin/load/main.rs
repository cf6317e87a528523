//! Load test: the requests of a few hundred users with the page open, at a fixed rate, on SQLite and on PostgreSQL.
//!
//! Requests start when they are due, whether or not earlier ones were answered, and latency counts from that moment. So
//! a server that stalls does not reduce its own load. See `bench/README.md`.

mod client;
mod mix;
mod server;
mod tally;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Parser;
use gostream_testkit::postgres::Postgres;

use self::{server::Server, tally::Tally};

/// Sends requests to a server at a fixed rate and reports latencies.
#[derive(Debug, Parser)]
struct Options {
    /// The server to test.
    #[arg(long, default_value = "target/release/gostream")]
    server: PathBuf,
    /// Requests per second.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Duration in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only databases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut errors = 0;
    for database in ["SQLite", "PostgreSQL"].into_iter().filter(|name| name.contains(&options.only)) {
        let tally = runtime.block_on(run(&options, database))?;
        println!("\n{database}, {} requests a second for {} s\n\n{}", options.rate, options.seconds, tally.table());
        errors += tally.errors();
    }
    match errors {
        0 => Ok(()),
        errors => bail!("{errors} requests failed"),
    }
}

async fn run(options: &Options, database: &str) -> anyhow::Result<Tally> {
    let postgres = (database == "PostgreSQL").then(Postgres::start).transpose()?;
    let url = postgres.as_ref().map(Postgres::database);
    let server = Server::start(&options.server, url.as_deref()).await?;
    let stage = mix::prepare(&server).await?;
    let before = server.cpu();
    let tally = mix::ask(stage, options.rate, Duration::from_secs(options.seconds)).await?;
    let spent = server.cpu().saturating_sub(before);
    println!("CPU of the server: {:.0} ms/s", spent.as_secs_f64() * 1_000.0 / options.seconds as f64);
    Ok(tally)
}
