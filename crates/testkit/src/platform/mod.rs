//! A test platform: accepts pushed streams, records every message, and can misbehave in every way that platforms do.

mod behaviour;
mod connection;
mod dialogue;
mod kernel;
mod login;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gostream_proto::rtmp::media::{Media, MediaKind};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::behaviour::{Behaviour, Deviation, LiveMessage, Login, Step};
use self::connection::welcome;
use crate::PATIENCE;

/// A connection with a publish request.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// The stream key.
    pub key: String,
    /// Every media message, in order.
    pub media: Vec<Media>,
    /// Arrival time of each media message.
    pub arrivals: Vec<Instant>,
    /// Number of other connections to this platform that were open at the publish request.
    pub concurrent: usize,
    /// Number of answered pings.
    pub pongs: usize,
    /// It was unpublished.
    pub unpublished: bool,
    /// It has ended.
    pub ended: bool,
}

/// A listening platform.
#[derive(Debug)]
pub struct Platform {
    address: SocketAddr,
    tls: bool,
    visits: Arc<Log>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Log {
    visits: Mutex<Vec<Visit>>,
    connections: Mutex<usize>,
    changed: watch::Sender<()>,
}

impl Log {
    fn visits(&self) -> MutexGuard<'_, Vec<Visit>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, visit: Visit) -> usize {
        let mut visits = self.visits();
        visits.push(visit);
        let index = visits.len() - 1;
        drop(visits);
        self.changed.send_replace(());
        index
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Visit)) {
        if let Some(visit) = self.visits().get_mut(index) {
            change(visit);
        }
        self.changed.send_replace(());
    }
}

impl Platform {
    /// Listens on a free port.
    pub async fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, behaviour).await
    }

    /// Listens on the address of a stopped platform.
    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> anyhow::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if behaviour.reads_badly() {
            // Small, so that slow reading has an immediate effect.
            socket.set_recv_buffer_size(16 * 1024)?;
        }
        socket.bind(address)?;
        let listener = socket.listen(64)?;
        let platform = Self {
            address: listener.local_addr()?,
            tls: behaviour.tls.is_some(),
            visits: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (log, stop, tasks) = (Arc::clone(&platform.visits), platform.stop.clone(), platform.tasks.clone());
        platform.tasks.spawn(listen(listener, behaviour, log, stop, tasks));
        Ok(platform)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for a destination. With TLS the host is `localhost`, the name in the certificate.
    pub fn url(&self) -> String {
        let port = self.address.port();
        if self.tls { format!("rtmps://localhost:{port}/app") } else { format!("rtmp://127.0.0.1:{port}/app") }
    }

    /// The visits so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.visits().clone()
    }

    /// Number of TCP connections so far.
    pub fn connections(&self) -> usize {
        *self.visits.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the visits satisfy `wanted`, and returns them; panics with `what` otherwise.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Visit]) -> bool) -> Vec<Visit> {
        self.wait_for(what, wanted).await;
        self.visits()
    }

    /// The same without a copy of the visits, for tests that check after every message.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&[Visit]) -> bool) {
        let mut changed = self.visits.changed.subscribe();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                if wanted(&self.visits.visits()) || changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let seen: Vec<_> = self.visits().iter().map(|v| (v.media.len(), v.unpublished, v.ended)).collect();
            panic!("the platform waited for {what}; visits (messages, unpublished, ended): {seen:?}");
        }
    }

    /// Waits until a visit has `count` video messages.
    pub async fn until_video(&self, count: usize) -> Vec<Visit> {
        let video = |visit: &Visit| visit.media.iter().filter(|media| media.kind == MediaKind::Video).count();
        self.until(&format!("{count} video messages"), |visits| visits.iter().any(|visit| video(visit) >= count))
            .await
    }

    /// Closes every connection and stops listening.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(PATIENCE, self.tasks.wait()).await;
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(
    listener: TcpListener,
    behaviour: Behaviour,
    log: Arc<Log>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => return,
            },
        };
        *log.connections.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        log.changed.send_replace(());
        let (behaviour, log, stop) = (behaviour.clone(), Arc::clone(&log), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = welcome(stream, behaviour, &log) => {}
            }
        });
    }
}
