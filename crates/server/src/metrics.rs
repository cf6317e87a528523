//! The Prometheus metrics: a small set with the values at the time of the scrape.
//!
//! Metrics of streams and relays are read from the engine's status at each scrape, so they cannot drift. Their series
//! end with them. HTTP requests are counted by route pattern, never by path.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use gostream_engine::{
    Engine,
    spec::RelayId,
    status::{ProjectStatus, RelayState, RelayStatus},
};
use gostream_net::congestion_control;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    database_health::{self, DatabaseHealth},
    telemetry,
};

/// Upper bounds in seconds. Most responses take less than a millisecond, a password hash a quarter of a second.
const LATENCY_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// All states. A state without relays has the value 0 and not a missing series.
const STATES: [RelayState; 8] = [
    RelayState::Off,
    RelayState::Waiting,
    RelayState::Connecting,
    RelayState::Live,
    RelayState::Degraded,
    RelayState::Stalled,
    RelayState::Backoff,
    RelayState::Rejected,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HlsLabels {
    kind: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

/// Counts requests, and renders the metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    failures: Family<FailureLabels, Counter>,
    hls: Family<HlsLabels, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Metrics that read streams and relays from `engine`, and the state of the database from `database_health`.
    pub(crate) fn new(engine: Engine, database_health: Arc<DatabaseHealth>) -> Self {
        let mut registry = Registry::with_prefix("gostream");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        let new_histogram: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let latency = Family::new_with_constructor(new_histogram);
        registry.register_with_unit(
            "http_request_duration",
            "Time until the answer's head was ready",
            Unit::Seconds,
            latency.clone(),
        );
        let failures = Family::default();
        registry.register("relay_failures", "Connections to destinations that failed or were lost", failures.clone());
        let hls = Family::default();
        registry.register("hls_requests", "Requests of players for playlists and media", hls.clone());
        registry.register_collector(Box::new(Broadcasts(engine, database_health)));
        Self { registry, requests, latency, failures, hls }
    }

    /// Counts a response. `route` is the pattern, not the path.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        let labels = RouteLabels { method: method.clone(), route: route.clone() };
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }

    /// Counts a connection to a destination that failed or was lost. `code` is the reason.
    pub(crate) fn relay_failed(&self, code: &'static str) {
        self.failures.get_or_create(&FailureLabels { code }).inc();
    }

    /// Counts a player's request. `kind` is the kind of resource.
    pub(crate) fn hls_request(&self, kind: &'static str, status: u16) {
        self.hls.get_or_create(&HlsLabels { kind, status }).inc();
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn page(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// The router of the metrics listener.
pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        match metrics.page() {
            Ok(page) => ([(header::CONTENT_TYPE, content_type)], page).into_response(),
            Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

/// Reads the current values at the time of the scrape.
struct Broadcasts(Engine, Arc<DatabaseHealth>);

impl fmt::Debug for Broadcasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broadcasts")
    }
}

impl Broadcasts {
    /// Metrics of the server, as opposed to streams.
    fn encode_server(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(algorithm) = congestion_control() {
            let help = "The congestion control that media sockets get now";
            let mut congestion = encoder.encode_descriptor("tcp_congestion", help, None, MetricType::Gauge)?;
            congestion.encode_family(&[("algorithm", algorithm.as_str())])?.encode_gauge(&1_i64)?;
        }

        let lost = self.0.events_lost();
        encoder
            .encode_descriptor("history_events_lost", "Events that the history missed", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&lost, None)?;

        let help = "Whether the database keeps no changes, and why";
        let mut troubles = encoder.encode_descriptor("database_trouble", help, None, MetricType::Gauge)?;
        for trouble in database_health::TROUBLES {
            let is = i64::from(self.1.trouble() == Some(trouble));
            troubles.encode_family(&[("kind", database_health::name(trouble))])?.encode_gauge(&is)?;
        }

        encoder
            .encode_descriptor("node_double", "Whether another server has this one's name", None, MetricType::Gauge)?
            .encode_gauge(&i64::from(self.1.is_node_duplicated()))?;

        let lost = telemetry::lost();
        encoder
            .encode_descriptor(
                "log_lines_lost",
                "Lines of the log that nobody read in time",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&lost, None)?;
        Ok(())
    }
}

impl Collector for Broadcasts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let live: Vec<_> = self.0.live().into_iter().filter_map(|project| self.0.status(project)).collect();

        let mut streams = encoder.encode_descriptor("streams_live", "Streams right now", None, MetricType::Gauge)?;
        streams.encode_gauge(&(live.len() as i64))?;

        let mut relays = encoder.encode_descriptor("relays", "Relays of live streams", None, MetricType::Gauge)?;
        for state in STATES {
            let count = live.iter().flat_map(relays_of).filter(|(_, relay)| relay.state == state).count();
            relays.encode_family(&[("state", state.name())])?.encode_gauge(&(count as i64))?;
        }

        let mut received = counter(&mut encoder, "stream_received", "Media taken from the encoder")?;
        for status in &live {
            let project = status.project.to_string();
            received
                .encode_family(&[("project", project.as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(&status.stream.received_bytes, None)?;
        }

        encode_trouble(&live, &mut encoder)?;

        let ring = "Media held in memory for readers";
        let mut ring = encoder.encode_descriptor("stream_ring", ring, Some(&Unit::Bytes), MetricType::Gauge)?;
        for status in &live {
            let project = status.project.to_string();
            let bytes = i64::try_from(status.stream.ring_bytes).unwrap_or(i64::MAX);
            ring.encode_family(&[("project", project.as_str())])?.encode_gauge(&bytes)?;
        }

        self.encode_server(&mut encoder)?;

        let mut sent = counter(&mut encoder, "relay_sent", "RTMP sent to the destination")?;
        for_each_relay(&live, |labels, relay| {
            sent.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&relay.sent_bytes, None)
        })?;
        for (name, help, value) in RELAY_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for_each_relay(&live, |labels, relay| {
                metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value(relay), None)
            })?;
        }
        let help = "Connections made again after being live, by what ended the one before";
        let mut reconnects = encoder.encode_descriptor("relay_reconnects", help, None, MetricType::Counter)?;
        for_each_relay(&live, |&[project, destination, leg], relay| {
            relay.reconnects_by.iter().try_for_each(|(&code, &count)| {
                let labels = [project, destination, leg, ("code", code)];
                reconnects.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&u64::from(count), None)
            })
        })?;
        for (name, help, value) in RELAY_SECONDS {
            let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
            for_each_relay(&live, |labels, relay| match value(relay) {
                Some(seconds) => metric.encode_family(labels)?.encode_gauge(&seconds),
                None => Ok(()),
            })?;
        }
        Ok(())
    }
}

/// Metrics about problems of streams.
fn encode_trouble(live: &[Arc<ProjectStatus>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let speed = "How fast media comes by the wall clock; 1 keeps up";
    let mut speed = encoder.encode_descriptor("stream_speed", speed, None, MetricType::Gauge)?;
    for status in live {
        let project = status.project.to_string();
        if let Some(percent) = status.stream.speed_percent {
            speed.encode_family(&[("project", project.as_str())])?.encode_gauge(&(f64::from(percent) / 100.0))?;
        }
    }

    let mut codes = BTreeMap::<_, i64>::new();
    live.iter()
        .flat_map(|status| &status.stream.notices)
        .for_each(|n| *codes.entry(n.code).or_default() += 1);
    let help = "Live streams with a notice for their owner, by its code";
    let mut notices = encoder.encode_descriptor("stream_notices", help, None, MetricType::Gauge)?;
    for (code, count) in codes {
        notices.encode_family(&[("code", code)])?.encode_gauge(&count)?;
    }
    Ok(())
}

/// A metric of every relay: its name, its help text, and the function that reads it.
type RelayMetric<T> = (&'static str, &'static str, fn(&RelayStatus) -> T);

/// The counters of each relay.
const RELAY_COUNTERS: [RelayMetric<u64>; 1] = [(
    "relay_dropped_frames",
    "Video frames skipped because the destination, or the way to it, was too slow",
    |relay| relay.dropped_frames,
)];

/// The gauges of each relay, in seconds.
const RELAY_SECONDS: [RelayMetric<Option<f64>>; 2] = [
    ("relay_lag", "How far behind the newest packet that is due after its delay the relay is", |relay| {
        Some(f64::from(relay.lag_ms) / 1_000.0)
    }),
    ("relay_rtt", "Round-trip time to the destination", |relay| relay.rtt_ms.map(|ms| ms / 1_000.0)),
];

type RelayLabels<'a> = [(&'static str, &'a str); 3];

fn relays_of(status: &Arc<ProjectStatus>) -> impl Iterator<Item = (RelayId, &RelayStatus)> {
    let primaries = status.relays.iter().map(|(&id, relay)| (RelayId::primary(id), relay));
    primaries.chain(status.backups.iter().map(|(&id, relay)| (RelayId::backup(id), relay)))
}

fn for_each_relay(
    live: &[Arc<ProjectStatus>],
    mut encode: impl FnMut(&RelayLabels<'_>, &RelayStatus) -> fmt::Result,
) -> fmt::Result {
    for status in live {
        let project = status.project.to_string();
        for (id, relay) in relays_of(status) {
            let destination = id.destination.to_string();
            let labels = [("project", project.as_str()), ("destination", &destination), ("leg", id.leg.name())];
            encode(&labels, relay)?;
        }
    }
    Ok(())
}

fn counter<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &'a str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)
}
