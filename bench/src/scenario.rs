//! What is measured, one scenario after the other.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use gostream_testkit::{certificate::Certificate, process::text};
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    Options,
    contender::{Contender, Running, Task},
    sink::Sink,
    source::{Clip, Departures, publish},
};

/// Behind the last connection, before anything is measured: joins and bursts are over.
const SETTLE: Duration = Duration::from_secs(4);
/// For all destinations to be connected.
const CONNECT: Duration = Duration::from_secs(90);

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was asked.
    pub scenario: String,
    /// Of whom.
    pub contender: &'static str,
    /// Destinations, or streams where there are none.
    pub units: usize,
    /// CPU milliseconds a second, of all its processes.
    pub cpu_ms_per_s: f64,
    /// The same for each unit.
    pub cpu_ms_per_s_unit: f64,
    /// Resident memory of all its processes in MiB.
    pub memory_mib: f64,
    /// Megabits a second that arrived at the sinks.
    pub arrived_mbit_s: f64,
    /// The least that a destination got, as a part of what the best got.
    pub evenness: f64,
    /// Delay from the encoder's write to the sink's read, in milliseconds.
    pub delay_ms: Option<Delay>,
    /// From start to ready, in milliseconds.
    pub ready_ms: f64,
}

/// Percentiles of the delay.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Delay {
    /// Half are below.
    pub p50: f64,
    /// One in a hundred is above.
    pub p99: f64,
    /// The worst.
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
    contenders: Vec<Contender>,
}

fn all() -> anyhow::Result<Vec<Scenario>> {
    let (large, small) = (Clip::large()?, Clip::small()?);
    let everybody = vec![Contender::GoStream, Contender::NginxPush, Contender::FfmpegEach];
    let (servers, us) = (vec![Contender::GoStream, Contender::NginxPush], vec![Contender::GoStream]);
    let mut scenarios = Vec::new();
    for (destinations, contenders) in [(1, &everybody), (10, &everybody), (50, &everybody), (200, &servers)] {
        scenarios.push(Scenario {
            name: format!("fan-out to {destinations} ({})", large.name),
            clip: large.clone(),
            streams: 1,
            destinations,
            tls: false,
            hls: false,
            contenders: contenders.clone(),
        });
    }
    scenarios.push(Scenario {
        name: format!("fan-out to 50 over TLS ({})", large.name),
        clip: large,
        streams: 1,
        destinations: 50,
        tls: true,
        hls: false,
        contenders: us.clone(),
    });
    for streams in [1, 10, 30] {
        scenarios.push(Scenario {
            name: format!("{streams} streams in, HLS there ({})", small.name),
            clip: small.clone(),
            streams,
            destinations: 0,
            tls: false,
            hls: true,
            contenders: servers.clone(),
        });
    }
    scenarios.push(Scenario {
        name: format!("fan-out to 1000 ({})", small.name),
        clip: small,
        streams: 1,
        destinations: 1_000,
        tls: false,
        hls: false,
        contenders: us,
    });
    Ok(scenarios)
}

/// Runs every scenario that was asked for.
pub async fn run_all(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    for scenario in all()?.into_iter().filter(|scenario| scenario.name.contains(&options.only)) {
        let asked = |contender: &&Contender| contender.name().contains(&options.contender);
        for &contender in scenario.contenders.iter().filter(asked) {
            eprintln!("{}: {}", scenario.name, contender.name());
            match run(&scenario, contender, &options.server, Duration::from_secs(options.seconds)).await {
                Ok(measured) => results.push(measured),
                Err(error) => eprintln!("  could not be measured: {error:#}"),
            }
        }
    }
    Ok(results)
}

async fn run(scenario: &Scenario, contender: Contender, server: &Path, time: Duration) -> anyhow::Result<Measured> {
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
        // An application of its own for each: nginx-rtmp pushes once per URL.
        if scenario.tls {
            format!("rtmps://localhost:{port}/app{n}")
        } else {
            format!("rtmp://127.0.0.1:{port}/app{n}")
        }
    };
    let task = Task {
        server,
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
    sleep(SETTLE).await;

    let measured = measure(scenario, contender, &running, &sink, time).await;
    for encoder in &encoders {
        encoder.abort();
    }
    Ok(measured)
}

async fn measure(
    scenario: &Scenario,
    contender: Contender,
    running: &Running,
    sink: &Sink,
    time: Duration,
) -> Measured {
    let (before, bytes_before, started) = (running.usage(), sink.counts(), Instant::now());
    sink.measure();
    sleep(time).await;
    let (after, bytes_after, elapsed) = (running.usage(), sink.counts(), started.elapsed().as_secs_f64());
    let got: Vec<u64> = bytes_after.iter().zip(&bytes_before).map(|(after, before)| after - before).collect();
    let (least, most) = (got.iter().min().copied().unwrap_or(0), got.iter().max().copied().unwrap_or(0));
    let units = if scenario.destinations > 0 { scenario.destinations } else { scenario.streams };
    let cpu = (after.cpu_since(&before)).as_secs_f64() * 1_000.0 / elapsed;
    let delays = sink.delays();
    let percentile = |part: f64| {
        let index = ((delays.len() as f64 * part) as usize).min(delays.len().saturating_sub(1));
        delays.get(index).map_or(0.0, |delay| delay.as_secs_f64() * 1_000.0)
    };
    Measured {
        scenario: scenario.name.clone(),
        contender: contender.name(),
        units,
        cpu_ms_per_s: cpu,
        cpu_ms_per_s_unit: cpu / units as f64,
        memory_mib: after.resident_kb as f64 / 1_024.0,
        arrived_mbit_s: got.iter().sum::<u64>() as f64 * 8.0 / 1e6 / elapsed,
        evenness: if most == 0 { 1.0 } else { least as f64 / most as f64 },
        delay_ms: (!delays.is_empty()).then(|| Delay {
            p50: percentile(0.5),
            p99: percentile(0.99),
            max: percentile(1.0),
        }),
        ready_ms: running.ready_after.as_secs_f64() * 1_000.0,
    }
}
