//! The engine's handle: everything the control plane can say to the data plane.

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
    show::{cooldown::Resting, registry::Registry, shared::Shared, starts::Starts},
    spec::{AccountId, DestinationId, ProjectId, ProjectSpec, PullSpec, StreamKey, Target},
    status::{LiveStream, ProbeStep, ProjectStatus, PullStatus},
};

/// All goodbyes together, when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Destinations that are tried out at once: each is a connection or two, for half a minute at most.
const PROBES: Bounds = Bounds { running: 64, running_each: 4, waiting: 256, waiting_each: 16 };

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where RTMP is taken.
    pub rtmp_listen: SocketAddr,
    /// Where RTMPS is taken; needs `tls`.
    pub rtmps_listen: Option<SocketAddr>,
    /// The server's certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Proxies that say first whose connection they pass on.
    pub proxy_protocol: ProxyProtocol,
    /// Address ranges that relays may reach besides public ones.
    pub egress_allow: Vec<ipnet::IpNet>,
    /// The name or address that users know this server by; relays reach it only where `egress_allow` does.
    pub public_host: Option<String>,
    /// Makes addresses of the names of destinations.
    pub resolver: Arc<dyn Resolve>,
    /// Certificates that relays trust instead of the system's.
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// How long destinations are held after the encoder dropped.
    pub reconnect_grace: Duration,
    /// Threads of its own; with none, the engine runs on the caller's runtime.
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

/// The ports of an engine, bound and not served yet: who connects waits.
#[derive(Debug)]
pub struct Ports {
    rtmp: TcpListener,
    rtmps: Option<TcpListener>,
}

impl Ports {
    /// Binds these addresses.
    pub fn bind(rtmp: SocketAddr, rtmps: Option<SocketAddr>) -> Result<Self, StartError> {
        let rtmp = bind("rtmp.listen", rtmp)?;
        let rtmps = rtmps.map(|address| bind("rtmps.listen", address)).transpose()?;
        Ok(Self { rtmp, rtmps })
    }
}

/// Binds an address; the error names the setting that it comes from.
fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    gostream_net::listen(address).map_err(|source| StartError { setting, address, source })
}

impl Engine {
    /// Binds and begins to take connections.
    pub async fn start(
        config: EngineConfig,
        admission: Arc<dyn Admission>,
        events: EventSender,
    ) -> Result<Self, StartError> {
        let ports = Ports::bind(config.rtmp_listen, config.rtmps_listen.filter(|_| config.tls.is_some()))?;
        Ok(Self::serve(ports, config, admission, events))
    }

    /// Begins to take connections on these ports.
    pub fn serve(ports: Ports, config: EngineConfig, admission: Arc<dyn Admission>, events: EventSender) -> Self {
        let Ports { rtmp, rtmps } = ports;
        let rtmps = rtmps.zip(config.tls.clone());
        let shards = Shards::start(config.threads).unwrap_or_else(|error| {
            tracing::error!(%error, "The threads of the data plane could not be started; it shares those of the API.");
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
            resting: Resting::default(),
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
        let door = ConnectionLimiter::new(config.limits.places);
        let listeners = [(rtmp, None)].into_iter().chain(rtmps.map(|(rtmps, tls)| (rtmps, Some(tls))));
        for (listener, tls) in listeners {
            let port = Port { listener, tls, proxies: config.proxy_protocol.clone(), door: Arc::clone(&door) };
            shared.tasks.spawn(rtmp::listen(port, Arc::clone(&shared)));
        }
        Self { shared, pulls: Arc::default(), rtmp_addr, rtmps_addr }
    }

    /// Where RTMP is taken.
    pub fn rtmp_addr(&self) -> SocketAddr {
        self.rtmp_addr
    }

    /// Where RTMPS is taken.
    pub fn rtmps_addr(&self) -> Option<SocketAddr> {
        self.rtmps_addr
    }

    /// What should be. Nothing happens when the project is not live here, or when nothing changed. A broadcast that was begun
    /// with another key than the spec's is left as it is.
    pub fn apply(&self, spec: ProjectSpec) -> Applied {
        self.name_output(spec.id, &spec.playback_id);
        self.shared.registry.get(spec.id).map_or(Applied::NotLive, |live| live.apply(&spec))
    }

    /// What is live of the project is watched under this playback id from now on; the one before leads nowhere.
    pub fn name_output(&self, project: ProjectId, playback_id: &str) {
        self.shared.registry.name_output(project, playback_id);
    }

    /// Ends the project's broadcast, its publisher and relays, if it is live. A publisher that is on its way is asked about
    /// again.
    pub fn end(&self, project: ProjectId, reason: EndReason) {
        self.shared.registry.revoke(project);
        if let Some(live) = self.shared.registry.get(project) {
            live.broadcast.end(reason);
        }
    }

    /// The relay to that destination does not wait for its next attempt.
    pub fn retry(&self, project: ProjectId, destination: DestinationId) {
        if let Some(live) = self.shared.registry.get(project) {
            // When so many wait already, one more changes nothing.
            let _ = live.retries.try_send(destination);
        }
    }

    /// All streams that are to be fetched from elsewhere. What is fetched already goes on.
    pub fn pull(&self, wanted: Vec<PullSpec>) {
        self.pulls.apply(wanted, &self.shared);
    }

    /// Somebody publishes the project's stream on the server that it is pulled from.
    pub fn pull_published(&self, project: ProjectId) {
        self.pulls.report(project, Upstream::Published);
    }

    /// The publisher that is pulled from left: the stream ends as if its encoder had said goodbye here.
    pub fn pull_unpublished(&self, project: ProjectId) {
        self.pulls.report(project, Upstream::Unpublished);
    }

    /// How the project's pull goes; `None` when there is none here.
    pub fn pull_status(&self, project: ProjectId) -> Option<PullStatus> {
        self.pulls.status(project)
    }

    /// Tries a destination of an account out, step by step, without publishing. Ends when it is dropped. [`Full`] when the
    /// account, or all of them, already try as many as they may.
    pub async fn probe(&self, account: AccountId, target: &Target) -> Result<Vec<ProbeStep>, Full> {
        let _share = self.shared.probes.take(account).await?;
        Ok(probe(&self.shared.dialer.of(account), target).await)
    }

    /// What is, or `None` when the project is not live.
    pub fn status(&self, project: ProjectId) -> Option<Arc<ProjectStatus>> {
        self.watch(project).borrow().clone()
    }

    /// What is, now and as it changes: at each change of a state, that of a pull too, and every 500 ms while live.
    pub fn watch(&self, project: ProjectId) -> watch::Receiver<Option<Arc<ProjectStatus>>> {
        self.shared.registry.watch(project)
    }

    /// Events that found no room in the channel to the history, since the start.
    pub fn events_lost(&self) -> u64 {
        self.shared.events.lost()
    }

    /// What is live, for the history to compare itself with.
    pub fn streams(&self) -> Vec<LiveStream> {
        self.shared.registry.all().into_iter().map(|(_, live)| LiveStream::of(&live.broadcast)).collect()
    }

    /// The projects that are live.
    pub fn live(&self) -> Vec<ProjectId> {
        self.shared.registry.all().into_iter().map(|(id, _)| id).collect()
    }

    /// What viewers of that playback id watch: the output of its live stream, or for some seconds that of one that ended.
    pub fn hls_for_viewers(&self, playback_id: &str) -> Option<Arc<hls::Output>> {
        self.shared.registry.output(playback_id)
    }

    /// The HLS outputs of the live stream with that key.
    pub fn hls(&self, stream_key: &StreamKey) -> Option<Arc<hls::Output>> {
        self.shared.registry.by_key(stream_key).map(|live| Arc::clone(&live.hls))
    }

    /// Stops taking connections, ends all broadcasts and says goodbye to platforms, within 5 s.
    pub async fn shutdown(&self) {
        let Shared { registry, closing, tasks, .. } = &*self.shared;
        for (_, live) in registry.all() {
            live.broadcast.end(EndReason::ServerStopped);
        }
        closing.cancel();
        tasks.close();
        if timeout(SHUTDOWN, tasks.wait()).await.is_err() {
            tracing::warn!("Some connections did not end in time.");
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
