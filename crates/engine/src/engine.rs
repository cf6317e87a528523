//! The engine's handle: every call that the control plane can make to the data plane.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use crate::{admission::Admission, events::EndReason, show::live::Applied};
use gostream_net::{
    Egress, OwnAddresses, Resolve, SystemResolver, connection_limiter::ConnectionLimiter, proxy::ProxyProtocol,
};

use crate::{
    broadcast::{Broadcast, Phase},
    events::EventSender,
    inputs::pull::{Pulls, upstream::Upstream},
    limits::Limits,
    listen::rtmp::{self, Port},
    outputs::{hls, relay::probe::probe},
    rtmp::dial::Dialer,
    shards::Shards,
    shares::{Bounds, Full, Shares},
    show::{cooldown::Cooldown, registry::Registry, shared::Shared, starts::Starts},
    spec::{AccountId, DestinationId, ProjectId, ProjectSpec, PullSpec, StreamKey, Target},
    status::{LiveStream, ProbeStep, ProjectStatus, PullStatus},
};

/// Time for all connections together to close in order, when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Destinations that are tested at the same time. Each test holds one or two connections for at most 14 s.
const PROBES: Bounds = Bounds { running: 64, running_each: 4, waiting: 256, waiting_each: 16 };

/// Configuration of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The address of the RTMP listener.
    pub rtmp_listen: SocketAddr,
    /// The address of the RTMPS listener; needs `tls`.
    pub rtmps_listen: Option<SocketAddr>,
    /// TLS configuration with the server's certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Proxies that begin each connection with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Address ranges that relays may reach in addition to public ones.
    pub egress_allow: Vec<ipnet::IpNet>,
    /// The server's public name or address. Relays reach it only if `egress_allow` contains it.
    pub public_host: Option<String>,
    /// Resolves the names of destinations.
    pub resolver: Arc<dyn Resolve>,
    /// Certificates that relays trust instead of the system's.
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// How long destinations stay connected after the encoder dropped.
    pub reconnect_grace: Duration,
    /// Number of threads of the data plane; with 0 it runs on the caller's runtime.
    pub threads: usize,
    /// Bounds and deadlines.
    pub limits: Limits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            rtmp_listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1935),
            rtmps_listen: None,
            tls: None,
            proxy_protocol: ProxyProtocol::default(),
            egress_allow: Vec::new(),
            public_host: None,
            resolver: Arc::new(SystemResolver::default()),
            trusted: None,
            reconnect_grace: Duration::from_secs(60),
            threads: 0,
            limits: Limits::default(),
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: cannot listen on {address}: {source}. Is another server running there?")]
pub struct StartError {
    pub(crate) setting: &'static str,
    pub(crate) address: SocketAddr,
    #[source]
    pub(crate) source: io::Error,
}

/// A running data plane. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    pulls: Arc<Pulls>,
    rtmp_addr: SocketAddr,
    rtmps_addr: Option<SocketAddr>,
}

/// The ports of an engine: bound, but not served yet. Clients that connect wait.
#[derive(Debug)]
pub struct Ports {
    rtmp: TcpListener,
    rtmps: Option<TcpListener>,
}

impl Ports {
    /// Binds the addresses.
    pub fn bind(rtmp: SocketAddr, rtmps: Option<SocketAddr>) -> Result<Self, StartError> {
        let rtmp = bind("rtmp.listen", rtmp)?;
        let rtmps = rtmps.map(|address| bind("rtmps.listen", address)).transpose()?;
        Ok(Self { rtmp, rtmps })
    }
}

/// Binds an address. The error names the setting of the address.
fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    gostream_net::listen(address).map_err(|source| StartError { setting, address, source })
}

impl Engine {
    /// Binds the ports and starts to accept connections.
    pub async fn start(
        config: EngineConfig,
        admission: Arc<dyn Admission>,
        events: EventSender,
    ) -> Result<Self, StartError> {
        let ports = Ports::bind(config.rtmp_listen, config.rtmps_listen.filter(|_| config.tls.is_some()))?;
        Ok(Self::serve(ports, config, admission, events))
    }

    /// Starts to accept connections on bound ports.
    pub fn serve(ports: Ports, config: EngineConfig, admission: Arc<dyn Admission>, events: EventSender) -> Self {
        let Ports { rtmp, rtmps } = ports;
        let rtmps = rtmps.zip(config.tls.clone());
        let shards = Shards::start(config.threads).unwrap_or_else(|error| {
            tracing::error!(%error, "The threads of the data plane could not be started; it runs on the threads of the API.");
            Shards::default()
        });
        let egress = Egress::new(config.egress_allow);
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let own = config.public_host.map_or_else(OwnAddresses::default, |host| {
            let (own, follow) = OwnAddresses::of_host(host, Arc::clone(&config.resolver));
            let stop = closing.clone();
            tasks.spawn(async move { stop.run_until_cancelled(follow).await });
            own
        });
        let shared = Arc::new(Shared {
            admission,
            registry: Registry::default(),
            limits: config.limits,
            cooldown: Cooldown::default(),
            starts: Starts::new(config.limits.starts),
            closing,
            tasks,
            shards,
            identity: format!("GoStream/{} ({})", env!("CARGO_PKG_VERSION"), Uuid::new_v4().simple()),
            dialer: Dialer::new(config.resolver, egress, own, config.trusted),
            probes: Shares::new(PROBES),
            events,
            grace: config.reconnect_grace,
            uplink: Arc::default(),
            delay_room: Arc::default(),
        });
        let bound = |listener: &TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
        let rtmp_addr = bound(&rtmp, config.rtmp_listen);
        let rtmps_addr = rtmps.as_ref().zip(config.rtmps_listen).map(|((rtmps, _), wanted)| bound(rtmps, wanted));
        let limiter = ConnectionLimiter::new(config.limits.connections);
        let listeners = [(rtmp, None)].into_iter().chain(rtmps.map(|(rtmps, tls)| (rtmps, Some(tls))));
        for (listener, tls) in listeners {
            let port = Port { listener, tls, proxies: config.proxy_protocol.clone(), limiter: Arc::clone(&limiter) };
            shared.tasks.spawn(rtmp::listen(port, Arc::clone(&shared)));
        }
        Self { shared, pulls: Arc::default(), rtmp_addr, rtmps_addr }
    }

    /// The bound address of the RTMP listener.
    pub fn rtmp_addr(&self) -> SocketAddr {
        self.rtmp_addr
    }

    /// The bound address of the RTMPS listener.
    pub fn rtmps_addr(&self) -> Option<SocketAddr> {
        self.rtmps_addr
    }

    /// Applies the desired state of a project. Does nothing when the project is not live here or nothing changed. A
    /// broadcast that began with another key than the spec's stays as it is.
    pub fn apply(&self, spec: ProjectSpec) -> Applied {
        self.name_output(spec.id, &spec.playback_id);
        self.shared.registry.get(spec.id).map_or(Applied::NotLive, |live| live.apply(&spec))
    }

    /// From now on, viewers find the live stream of the project under this playback id; the previous id is no longer
    /// valid.
    pub fn name_output(&self, project: ProjectId, playback_id: &str) {
        self.shared.registry.name_output(project, playback_id);
    }

    /// Ends the project's broadcast with its publisher and relays, if it is live. A publisher that waits for its seat
    /// is checked again.
    pub fn end(&self, project: ProjectId, reason: EndReason) {
        self.shared.registry.revoke(project);
        if let Some(live) = self.shared.registry.get(project) {
            live.broadcast.end(reason);
        }
    }

    /// Ends the wait of the relays to that destination: they connect at once.
    pub fn retry(&self, project: ProjectId, destination: DestinationId) {
        if let Some(live) = self.shared.registry.get(project) {
            // The channel is only full when many retries wait already; one more would change nothing.
            let _ = live.retries.try_send(destination);
        }
    }

    /// Sets the list of streams to pull from other servers. Pulls that run already and are still listed continue.
    pub fn pull(&self, wanted: Vec<PullSpec>) {
        self.pulls.apply(wanted, &self.shared);
    }

    /// Reports that a client publishes the project's stream on the server that it is pulled from.
    pub fn pull_published(&self, project: ProjectId) {
        self.pulls.report(project, Upstream::Published);
    }

    /// Reports that the publisher at the other server left: the stream ends as if its encoder had said goodbye here.
    pub fn pull_unpublished(&self, project: ProjectId) {
        self.pulls.report(project, Upstream::Unpublished);
    }

    /// The status of the project's pull; `None` when there is none here.
    pub fn pull_status(&self, project: ProjectId) -> Option<PullStatus> {
        self.pulls.status(project)
    }

    /// Tests a destination of an account step by step, without publishing. Dropping the future cancels it. [`Full`]
    /// when the account, or all accounts together, run as many tests as they may.
    pub async fn probe(&self, account: AccountId, target: &Target) -> Result<Vec<ProbeStep>, Full> {
        let _share = self.shared.probes.take(account).await?;
        Ok(probe(&self.shared.dialer.of(account), target).await)
    }

    /// The current status, or `None` when the project is not live.
    pub fn status(&self, project: ProjectId) -> Option<Arc<ProjectStatus>> {
        self.watch(project).borrow().clone()
    }

    /// The current status and its changes. While live, it is published at each change of a state (of the pull as well)
    /// and every 500 ms.
    pub fn watch(&self, project: ProjectId) -> watch::Receiver<Option<Arc<ProjectStatus>>> {
        self.shared.registry.watch(project)
    }

    /// Events lost since the start because the queue to the history was full.
    pub fn events_lost(&self) -> u64 {
        self.shared.events.lost()
    }

    /// All live streams, for the history to compare its rows with.
    pub fn streams(&self) -> Vec<LiveStream> {
        self.shared.registry.all().into_iter().map(|(_, live)| LiveStream::of(&live.broadcast)).collect()
    }

    /// The live projects.
    pub fn live(&self) -> Vec<ProjectId> {
        self.shared.registry.all().into_iter().map(|(id, _)| id).collect()
    }

    /// The HLS output for viewers of a playback id: that of the live stream, or for some seconds that of a stream that
    /// ended.
    pub fn hls_for_viewers(&self, playback_id: &str) -> Option<Arc<hls::Output>> {
        self.shared.registry.output(playback_id)
    }

    /// The HLS output of the live stream with that key.
    pub fn hls(&self, stream_key: &StreamKey) -> Option<Arc<hls::Output>> {
        self.shared.registry.by_key(stream_key).map(|live| Arc::clone(&live.hls))
    }

    /// Stops accepting connections, ends all broadcasts and closes relays in order, within 5 s.
    pub async fn shutdown(&self) {
        let Shared { registry, closing, tasks, .. } = &*self.shared;
        for (_, live) in registry.all() {
            live.broadcast.end(EndReason::ServerStopped);
        }
        closing.cancel();
        tasks.close();
        if timeout(SHUTDOWN, tasks.wait()).await.is_err() {
            tracing::warn!("Some connections did not close in time.");
        }
        self.shared.shards.stop();
    }
}

impl LiveStream {
    pub(crate) fn of(broadcast: &Broadcast) -> Self {
        Self {
            project: broadcast.project,
            stream: broadcast.stream,
            started_at: broadcast.started_at,
            reconnecting: matches!(*broadcast.phase().borrow(), Phase::Dropped(_)),
            since: broadcast.phase_since(),
        }
    }
}
