//! The scenarios.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gostream_testkit::{certificate::Certificate, process::text};
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    Options,
    contender::{Contender, Running, Task},
    players::Players,
    sink::Sink,
    source::{Clip, Departures, publish},
    viewers::Viewers,
};

/// Pause after the last connection before measuring, until joins and bursts are over.
const SETTLE: Duration = Duration::from_secs(4);
/// Time limit for all destinations to connect.
const CONNECT: Duration = Duration::from_secs(90);

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The scenario.
    pub scenario: String,
    /// The server.
    pub contender: &'static str,
    /// Destinations, or streams if there are no destinations.
    pub units: usize,
    /// CPU milliseconds per second, of all its processes.
    pub cpu_ms_per_s: f64,
    /// The same per unit.
    pub cpu_ms_per_s_unit: f64,
    /// Resident memory of all its processes in MiB.
    pub memory_mib: f64,
    /// Megabits per second that arrived at the sinks.
    pub arrived_mbit_s: f64,
    /// The least that a destination got, as a fraction of the most.
    pub evenness: f64,
    /// Delay from the encoder's write to the sink's read.
    pub delay_ms: Option<Delay>,
    /// Time from start to ready, in milliseconds.
    pub ready_ms: f64,
}

/// Percentiles of the delay, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Delay {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

/// A scenario before it runs.
struct Scenario {
    name: String,
    clip: Clip,
    streams: usize,
    destinations: usize,
    tls: bool,
    hls: bool,
    /// Viewers of the low-latency preview.
    viewers: usize,
    /// Players by RTMP.
    players: usize,
    contenders: Vec<Contender>,
}

fn all() -> anyhow::Result<Vec<Scenario>> {
    const US: &[Contender] = &[Contender::GoStream];
    const SERVERS: &[Contender] = &[Contender::GoStream, Contender::NginxPush];
    const EVERYBODY: &[Contender] = &[Contender::GoStream, Contender::NginxPush, Contender::FfmpegEach];
    let (large, small, tiny) = (Clip::large()?, Clip::small()?, Clip::tiny()?);
    let scenario = |name: String, clip: &Clip, contenders: &[Contender]| Scenario {
        name: format!("{name} ({})", clip.name),
        clip: clip.clone(),
        streams: 1,
        destinations: 0,
        tls: false,
        hls: false,
        viewers: 0,
        players: 0,
        contenders: contenders.to_vec(),
    };
    let mut scenarios = Vec::new();
    for (destinations, contenders) in [(1, EVERYBODY), (5, SERVERS), (10, EVERYBODY), (50, EVERYBODY), (200, SERVERS)] {
        let name = format!("fan-out to {destinations}");
        scenarios.push(Scenario { destinations, ..scenario(name, &large, contenders) });
    }
    let name = "fan-out to 50 over TLS".to_owned();
    scenarios.push(Scenario { destinations: 50, tls: true, ..scenario(name, &large, US) });
    for streams in [1, 10, 30] {
        let name = format!("{streams} streams in, HLS there");
        scenarios.push(Scenario { streams, hls: true, ..scenario(name, &small, SERVERS) });
    }
    let name = "200 viewers of the preview".to_owned();
    scenarios.push(Scenario { hls: true, viewers: 200, ..scenario(name, &small, US) });
    let name = "1000 players by RTMP".to_owned();
    scenarios.push(Scenario { players: 1_000, ..scenario(name, &tiny, SERVERS) });
    let name = "fan-out to 1000".to_owned();
    scenarios.push(Scenario { destinations: 1_000, ..scenario(name, &small, US) });
    Ok(scenarios)
}

/// Runs every selected scenario.
pub async fn run_all(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    for scenario in all()?.into_iter().filter(|scenario| scenario.name.contains(&options.only)) {
        let asked = |contender: &&Contender| contender.name().contains(&options.contender);
        for &contender in scenario.contenders.iter().filter(asked) {
            eprintln!("{}: {}", scenario.name, contender.name());
            match run(&scenario, contender, options).await {
                Ok(measured) => results.push(measured),
                Err(error) => eprintln!("  could not be measured: {error:#}"),
            }
        }
    }
    Ok(results)
}

async fn run(scenario: &Scenario, contender: Contender, options: &Options) -> anyhow::Result<Measured> {
    let time = Duration::from_secs(options.seconds);
    let departures = Departures::default();
    let folder = TempDir::new()?;
    let certificate = Certificate::for_names(&["localhost"])?;
    let trusted = folder.path().join("trusted.pem");
    fs::write(&trusted, &certificate.pem)?;
    let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let tls = scenario.tls.then(|| certificate.server(versions)).transpose()?;
    let sink = Sink::start(departures.clone(), tls).await?;
    let port = sink.address.port();
    let url = |n: usize| {
        // Each has its own application: nginx-rtmp pushes once per URL.
        if scenario.tls {
            format!("rtmps://localhost:{port}/app{n}")
        } else {
            format!("rtmp://127.0.0.1:{port}/app{n}")
        }
    };
    let task = Task {
        server: &options.server,
        streams: scenario.streams,
        destinations: (0..scenario.destinations).map(url).collect(),
        hls: scenario.hls,
        trusted: scenario.tls.then_some(trusted.as_path()),
    };
    let mut running = Running::start(contender, &task).await?;
    let mut encoders = Vec::new();
    for key in running.keys.clone() {
        encoders.push(publish(&scenario.clip, running.rtmp, &key, departures.clone()).await?);
        // Encoders do not send their frames in the same millisecond.
        sleep(Duration::from_millis(7)).await;
    }
    sleep(Duration::from_secs(1)).await;
    running.published()?;
    let connecting = Instant::now();
    while sink.receiving() < scenario.destinations {
        if connecting.elapsed() > CONNECT {
            bail!("{} of {} destinations came; see {}", sink.receiving(), scenario.destinations, text(folder.path()));
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(SETTLE + Duration::from_secs(options.warm_up)).await;

    let measured = match running.playback.first().filter(|_| scenario.viewers > 0) {
        Some((address, id)) => {
            watched(scenario, &running, Viewers::start(scenario.viewers, *address, id), time).await?
        }
        None if scenario.players > 0 => {
            let key = running.keys.first().context("no stream")?;
            let mut players = Players::start(scenario.players, running.rtmp, key, departures.clone()).await?;
            sleep(SETTLE).await;
            let measured = measure(scenario, contender, &running, &players, time).await;
            Measured { delay_ms: percentiles(&players.delays()?), ..measured }
        }
        None => {
            let measured = measure(scenario, contender, &running, &sink, time).await;
            Measured { delay_ms: percentiles(&sink.delays()), ..measured }
        }
    };
    for encoder in &encoders {
        encoder.abort();
    }
    Ok(measured)
}

/// The cost of viewers, and how much later than the first viewer the others get each playlist.
async fn watched(
    scenario: &Scenario,
    running: &Running,
    mut viewers: Viewers,
    time: Duration,
) -> anyhow::Result<Measured> {
    sleep(SETTLE).await;
    let (before, bytes_before, started) = (running.usage(), viewers.bytes(), Instant::now());
    viewers.measure();
    sleep(time).await;
    let (after, bytes, elapsed) = (running.usage(), viewers.bytes() - bytes_before, started.elapsed().as_secs_f64());
    let cpu = after.cpu_since(&before).as_secs_f64() * 1_000.0 / elapsed;
    Ok(Measured {
        scenario: scenario.name.clone(),
        contender: Contender::GoStream.name(),
        units: scenario.viewers,
        cpu_ms_per_s: cpu,
        cpu_ms_per_s_unit: cpu / scenario.viewers as f64,
        memory_mib: after.resident_kb as f64 / 1_024.0,
        arrived_mbit_s: bytes as f64 * 8.0 / 1e6 / elapsed,
        evenness: 1.0,
        delay_ms: percentiles(&viewers.lateness()?),
        ready_ms: running.ready_after.as_secs_f64() * 1_000.0,
    })
}

/// Expects a sorted list.
fn percentiles(delays: &[Duration]) -> Option<Delay> {
    let at = |part: f64| {
        let index = ((delays.len() as f64 * part) as usize).min(delays.len().saturating_sub(1));
        delays.get(index).map(|delay| delay.as_secs_f64() * 1_000.0)
    };
    Some(Delay { p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)? })
}

/// What receives a stream: destinations or players.
trait Receivers {
    /// Bytes of each.
    fn counts(&self) -> Vec<u64>;

    /// Starts to record delays.
    fn measure(&self);
}

impl Receivers for Sink {
    fn counts(&self) -> Vec<u64> {
        self.counts()
    }

    fn measure(&self) {
        self.measure();
    }
}

impl Receivers for Players {
    fn counts(&self) -> Vec<u64> {
        self.counts()
    }

    fn measure(&self) {
        self.measure();
    }
}

async fn measure(
    scenario: &Scenario,
    contender: Contender,
    running: &Running,
    receivers: &impl Receivers,
    time: Duration,
) -> Measured {
    let (before, bytes_before, started) = (running.usage(), receivers.counts(), Instant::now());
    receivers.measure();
    sleep(time).await;
    let (after, bytes_after, elapsed) = (running.usage(), receivers.counts(), started.elapsed().as_secs_f64());
    let got: Vec<u64> = bytes_after.iter().zip(&bytes_before).map(|(after, before)| after - before).collect();
    let (least, most) = (got.iter().min().copied().unwrap_or(0), got.iter().max().copied().unwrap_or(0));
    let units = [scenario.destinations, scenario.players]
        .into_iter()
        .find(|&count| count > 0)
        .unwrap_or(scenario.streams);
    let cpu = (after.cpu_since(&before)).as_secs_f64() * 1_000.0 / elapsed;
    Measured {
        scenario: scenario.name.clone(),
        contender: contender.name(),
        units,
        cpu_ms_per_s: cpu,
        cpu_ms_per_s_unit: cpu / units as f64,
        memory_mib: after.resident_kb as f64 / 1_024.0,
        arrived_mbit_s: got.iter().sum::<u64>() as f64 * 8.0 / 1e6 / elapsed,
        evenness: if most == 0 { 1.0 } else { least as f64 / most as f64 },
        delay_ms: None,
        ready_ms: running.ready_after.as_secs_f64() * 1_000.0,
    }
}
