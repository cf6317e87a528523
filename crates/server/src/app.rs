//! Assembles the server: what starts in which order. It stops in reverse order.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use gostream_engine::{
    Engine, EngineConfig, events,
    limits::{Limits as EngineLimits, StartLimits, StartRate},
};
use gostream_net::proxy::ProxyProtocol;
use gostream_store::Store;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::open::{Opened, TaskResources};
pub use self::{error::StartError, open::open_store};
use crate::{
    api::{self, Context, EventStreams, RequestQueues},
    config::{Settings, Tls},
    control::{admission::Gate, commands::Control, reconciler::Reconciler, wakes::Wakes},
    data_dir::{self, DirectoryLock},
    database_health::DatabaseHealth,
    history, housekeeping,
    listen::{self, Port},
    login::{browser::Browsers, password::Passwords, token::Tokens},
    metrics::{self, Metrics},
    process::FileLimit,
    tls::{self, ACME_TLS_1, CertificateSource, Certificates, acme::Renewal},
    upstream_publishers::UpstreamPublishers,
};

mod error;
mod open;

/// The most events that wait for the history writer. A stream causes a handful in its life, and each account has its
/// share (ARCHITECTURE.md, section 7).
const EVENTS_MAX: usize = 4_096;
/// How long tasks may take to end after relays said goodbye. HTTP itself takes at most one second.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the database may take to record that the server stopped.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the database may take to close. One that hangs must not prevent the stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
#[derive(Debug)]
pub struct App {
    ctx: Arc<Context>,
    store: Store,
    http: SocketAddr,
    metrics: Option<SocketAddr>,
    rtmps: Option<SocketAddr>,
    data_dir: String,
    /// The certificate, if it was loaded from files.
    reloadable: Option<Arc<Certificates>>,
    /// Ends tasks. Cancelled once the engine has stopped; `ctx.stopping` is cancelled first.
    ended: CancellationToken,
    tasks: TaskTracker,
    /// The lock of the data directory. It is held to the end, so that the next server waits for it.
    _directory_lock: Arc<DirectoryLock>,
}

impl App {
    /// Starts the server. It accepts requests and streams when this returns.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        tls::install_provider();
        let (certificates, source) = certificates(&settings)?.unzip();
        let Opened { directory_lock, http, metrics, ports, store, secret, node, resources } =
            Opened::open(&settings).await?;
        let (files, [stopping, ended]) = (FileLimit::raise(), [(); 2].map(|()| CancellationToken::new()));
        let (wakes, upstream_publishers) =
            (Arc::new(Wakes::new(store.is_shared())), Arc::<UpstreamPublishers>::default());
        let (database_health, tasks) = (Arc::<DatabaseHealth>::default(), TaskTracker::new());
        let (events, history) = events::channel(EVENTS_MAX);
        let gate = Arc::new(Gate {
            store: store.clone(),
            wakes: wakes.clone(),
            unknown_key_attempts: Arc::default(),
            limits: Arc::default(),
            stopping: stopping.clone(),
        });
        let engine = Engine::serve(ports, engine_config(&settings, certificates.as_ref(), files), gate.clone(), events);
        let metrics_page = Arc::new(Metrics::new(engine.clone(), database_health.clone()));
        let writer = history::Writer::new(store.clone(), node.clone(), wakes.clone(), metrics_page.clone());
        tasks.spawn(writer.run(history, engine.clone(), ended.clone()));
        let reconciler = Reconciler::new(gate.clone(), engine.clone(), upstream_publishers.clone(), node.clone());
        let https = certificates.clone().zip(source);
        let acceptor = https.map(|(certificates, source)| acceptor(certificates, source, &tasks, ended.clone()));
        let ctx = Arc::new(Context {
            event_streams: EventStreams::default(),
            tokens: Tokens::new(&secret),
            browsers: Browsers::new(&secret),
            passwords: Passwords::default(),
            request_queues: RequestQueues::default(),
            database_health,
            limits: gate.limits.clone(),
            quota: settings.quota,
            metrics: metrics_page,
            unknown_key_attempts: gate.unknown_key_attempts.clone(),
            upstream_publishers,
            rtmp_port: engine.rtmp_addr().port(),
            tls: acceptor.is_some(),
            public_url: settings.public_url,
            signup: settings.signup,
            store: store.read_only(),
            control: Arc::new(Control::new(store.clone(), engine.clone(), wakes, node.clone())),
            engine,
            sync_errors: reconciler.sync_errors.clone(),
            node: node.clone(),
            handlers: tasks.clone(),
            stopping,
        });
        tasks.spawn(reconciler.run(ended.clone()));
        spawn_tasks(&ctx, resources, &ended);
        let (headers, proxies) = (settings.proxy_protocol.into(), settings.trusted_proxies.into());
        let (limits, router) = (files.http(listen::LIMITS), api::router(ctx.clone()));
        tasks.spawn(listen::serve(http.0, Port { tls: acceptor, headers, proxies, limits, router }, ended.clone()));
        let metrics_addr = metrics.map(|(listener, address)| {
            tasks.spawn(listen::serve(listener, plain(metrics::router(ctx.metrics.clone()), files), ended.clone()));
            address
        });
        Ok(Self {
            rtmps: ctx.engine.rtmps_addr(),
            ctx,
            store,
            http: http.1,
            metrics: metrics_addr,
            data_dir: settings.data_dir.display().to_string(),
            reloadable: certificates.filter(|_| matches!(settings.tls, Some(Tls::Files(_)))),
            ended,
            tasks,
            _directory_lock: directory_lock,
        })
    }

    /// The address of the HTTP port.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// The address of the RTMP port.
    pub fn rtmp_addr(&self) -> SocketAddr {
        self.ctx.engine.rtmp_addr()
    }

    /// The address of the metrics port, if one is set.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The lines printed after the start: the addresses of page, API and RTMP.
    pub fn banner(&self) -> String {
        let page = self.ctx.public_url.as_ref().map_or_else(
            || format!("{}://{}", if self.ctx.tls { "https" } else { "http" }, reachable(self.http)),
            |url| url.as_str().trim_end_matches('/').to_owned(),
        );
        let mut lines = format!("GoStream {} is running.\n", env!("CARGO_PKG_VERSION"));
        lines += &format!("  Page and API  {page}\n");
        lines += &format!("  RTMP server   rtmp://{}/live\n", reachable(self.rtmp_addr()));
        if let Some(rtmps) = self.rtmps {
            lines += &format!("  RTMPS server  rtmps://{}/live\n", reachable(rtmps));
        }
        lines + &format!("  Data          {}\n", self.data_dir)
    }

    /// Reloads the certificate files, if there are any. Open connections are kept.
    pub fn reload(&self) {
        match &self.reloadable {
            Some(certificates) => certificates.request_reload(),
            None => tracing::info!("There are no certificate files to read again; settings need a restart."),
        }
    }

    /// Stops: refuses new publishers, ends relays with a goodbye, finishes requests and closes the database. Takes at
    /// most 9 s.
    pub async fn stop(self) {
        self.ctx.stopping.cancel();
        self.ctx.engine.shutdown().await;
        self.ended.cancel();
        self.tasks.close();
        if timeout(TASKS_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("Some tasks did not end in time.");
        }
        // Nothing else writes any more. If this fails, the next server only waits a moment longer.
        let left = timeout(LEAVE_TIMEOUT, self.store.leave(&self.ctx.node)).await;
        if !left.is_ok_and(|left| left.is_ok()) {
            tracing::debug!("The database did not record that this server stopped.");
        }
        if timeout(CLOSE_TIMEOUT, self.store.close()).await.is_err() {
            tracing::warn!("The database did not close in time.");
        }
    }
}

/// Starts the background tasks.
fn spawn_tasks(ctx: &Context, resources: TaskResources, stop: &CancellationToken) {
    let TaskResources { store, directory_lock, file, lock, ends } = resources;
    if let Some(ends) = ends {
        ctx.handlers.spawn(ctx.control.link(ends).run(stop.clone()));
    }
    ctx.handlers.spawn(housekeeping::run(store.clone(), stop.clone()));
    ctx.handlers
        .spawn(ctx.database_health.clone().run(store, ctx.node.clone(), file, directory_lock, stop.clone()));
    if let Some(lock) = lock {
        let (stop, database_health) = (stop.clone(), ctx.database_health.clone());
        let keep = lock.keep(move |by_other| database_health.set_node_duplicated(by_other));
        ctx.handlers.spawn(async move { stop.run_until_cancelled(keep).await });
    }
}

/// An acceptor that always uses the newest certificate, which `source` renews or reloads.
fn acceptor(
    certificates: Arc<Certificates>,
    source: CertificateSource,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> TlsAcceptor {
    tasks.spawn(source.run(certificates.clone(), stop));
    TlsAcceptor::from(certificates.server_config(&[b"h2", b"http/1.1", ACME_TLS_1]))
}

/// A port for the few clients of the operator.
fn plain(router: Router, files: FileLimit) -> Port {
    let (headers, proxies) = (ProxyProtocol::default(), [].into());
    Port { tls: None, headers, proxies, limits: files.metrics(listen::LIMITS), router }
}

/// The first certificate and the source of the next ones.
fn certificates(settings: &Settings) -> Result<Option<(Arc<Certificates>, CertificateSource)>, StartError> {
    Ok(match &settings.tls {
        None => None,
        Some(Tls::Files(files)) => Some((Certificates::load(files)?, CertificateSource::Files(files.clone()))),
        Some(Tls::Acme(acme)) => {
            let roots = acme.ca.as_deref().map_or_else(|| Ok(gostream_net::roots()), tls::roots)?;
            data_dir::prepare(&settings.data_dir)?;
            let (renewal, first) = Renewal::open(acme.clone(), roots, &settings.data_dir)?;
            Some((Certificates::new(first), CertificateSource::Acme(Box::new(renewal))))
        }
    })
}

fn engine_config(settings: &Settings, certificates: Option<&Arc<Certificates>>, files: FileLimit) -> EngineConfig {
    let limits = engine_limits(settings);
    EngineConfig {
        rtmp_listen: settings.rtmp_listen,
        rtmps_listen: settings.rtmps_listen,
        tls: certificates.map(|certificates| certificates.server_config(&[])),
        proxy_protocol: settings.proxy_protocol.clone().into(),
        egress_allow: settings.egress_allow.clone(),
        public_host: settings.public_url.as_ref().and_then(|url| url.host_str()).map(str::to_owned),
        reconnect_grace: settings.reconnect_grace,
        limits: EngineLimits { connections: files.rtmp(limits.connections), ..limits },
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        ..EngineConfig::default()
    }
}

fn engine_limits(settings: &Settings) -> EngineLimits {
    let live = settings.quota.live_streams;
    let StartLimits { per_key, per_account } = StartLimits::default();
    // After an outage all live streams of an account may return at once. The burst allows this twice.
    let per_account = StartRate { burst: per_account.burst.max(live.saturating_mul(2)), ..per_account };
    EngineLimits {
        ingest_kbps: settings.quota.ingest_kbps,
        live_per_account: usize::try_from(live).unwrap_or(usize::MAX),
        starts: StartLimits { per_key, per_account },
        ..EngineLimits::default()
    }
}

/// An address that a browser on this machine can open. The port is kept.
fn reachable(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}
