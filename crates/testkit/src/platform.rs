//! A platform of our own: takes what relays push, writes down every message, and can misbehave in every way platforms do.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use gostream_proto::rtmp::{
    media::{Media, MediaKind},
    server::{Event, ServerSession},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::PATIENCE;

/// How a platform behaves.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Refuse `publish` with this code.
    pub refuse: Option<&'static str>,
    /// Close this long after the publish was accepted.
    pub close_after: Option<Duration>,
    /// Reset the connection this long after the publish was accepted.
    pub reset_after: Option<Duration>,
    /// Accept TCP and never say anything.
    pub mute: bool,
    /// Stop reading once so many bytes came.
    pub stop_reading_after: Option<usize>,
    /// Read this slowly.
    pub kbps: Option<NonZeroU32>,
    /// TLS with this configuration.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// One connection that published, or tried to.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// The stream key.
    pub key: String,
    /// Every media message, in order.
    pub media: Vec<Media>,
    /// When each of them came.
    pub arrivals: Vec<Instant>,
    /// It said goodbye.
    pub goodbye: bool,
    /// It is over.
    pub over: bool,
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

    /// Listens where another one listened before.
    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> anyhow::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if behaviour.stop_reading_after.is_some() || behaviour.kbps.is_some() {
            // Small, so that a slow platform is felt at once.
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

    /// The URL that a destination names; TLS ones go by `localhost`, the name in the certificate.
    pub fn url(&self) -> String {
        let port = self.address.port();
        if self.tls { format!("rtmps://localhost:{port}/app") } else { format!("rtmp://127.0.0.1:{port}/app") }
    }

    /// What came so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.visits().clone()
    }

    /// How many TCP connections came so far.
    pub fn connections(&self) -> usize {
        *self.visits.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the visits are as wanted; panics with `what` when they never are.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Visit]) -> bool) -> Vec<Visit> {
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
            let seen: Vec<_> = self.visits().iter().map(|v| (v.media.len(), v.goodbye, v.over)).collect();
            panic!("the platform waited for {what}; visits (messages, goodbye, over): {seen:?}");
        }
        self.visits()
    }

    /// Waits until a visit got `count` video messages.
    pub async fn until_video(&self, count: usize) -> Vec<Visit> {
        let video = |visit: &Visit| visit.media.iter().filter(|media| media.kind == MediaKind::Video).count();
        self.until(&format!("{count} video messages"), |visits| visits.iter().any(|visit| video(visit) >= count))
            .await
    }

    /// Closes every connection and listens no more.
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
                () = welcome(stream, behaviour, log) => {}
            }
        });
    }
}

async fn welcome(stream: TcpStream, behaviour: Behaviour, log: Arc<Log>) {
    if behaviour.mute {
        return std::future::pending().await;
    }
    if behaviour.reset_after.is_some() {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    match behaviour.tls.clone() {
        None => serve(stream, &behaviour, &log).await,
        Some(tls) => {
            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                serve(stream, &behaviour, &log).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, behaviour: &Behaviour, log: &Log) {
    let mut session = ServerSession::new([0x50; 1_528]);
    let mut received = BytesMut::with_capacity(16 * 1024);
    let mut visit = None;
    let mut bytes = 0;
    let mut deadline = None;
    loop {
        let mut input = received.as_ref();
        let event = session.advance(&mut input);
        let used = received.len() - input.len();
        received.advance(used);
        match event {
            Ok(Some(event)) => {
                if let Event::Publish(_) = event {
                    deadline = behaviour.close_after.or(behaviour.reset_after).map(|after| Instant::now() + after);
                }
                on_event(event, &mut session, behaviour, log, &mut visit);
                continue;
            }
            Ok(None) => {}
            Err(_) => break,
        }
        while session.outbox().has_remaining() {
            if stream.write_buf(session.outbox()).await.is_err() {
                break;
            }
        }
        if stream.flush().await.is_err() {
            break;
        }
        if behaviour.stop_reading_after.is_some_and(|limit| bytes >= limit) {
            return std::future::pending().await;
        }
        received.reserve(4_096);
        let read = tokio::select! {
            read = stream.read_buf(&mut received) => read,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
        };
        let Ok(read @ 1..) = read else { break };
        bytes += read;
        if let Some(kbps) = behaviour.kbps {
            sleep(Duration::from_secs_f64(read as f64 * 8.0 / 1_000.0 / f64::from(kbps.get()))).await;
        }
    }
    if let Some(index) = visit {
        log.change(index, |visit| visit.over = true);
    }
}

fn on_event(event: Event, session: &mut ServerSession, behaviour: &Behaviour, log: &Log, visit: &mut Option<usize>) {
    match event {
        Event::Publish(key) => {
            let key = key.unwrap_or_default();
            let mut visits = log.visits();
            *visit = Some(visits.len());
            visits.push(Visit { key, ..Visit::default() });
            drop(visits);
            match behaviour.refuse {
                Some(code) => session.refuse(code, "refused by the test platform"),
                None => session.accept_publish(),
            }
        }
        Event::Media(media) => {
            if let Some(index) = *visit {
                log.change(index, |visit| {
                    visit.arrivals.push(Instant::now());
                    visit.media.push(media);
                });
            }
        }
        Event::Unpublish => {
            if let Some(index) = *visit {
                log.change(index, |visit| visit.goodbye = true);
            }
        }
        Event::Play(_) => session.refuse("NetStream.Play.Failed", "nothing to play"),
        Event::Stop => {}
    }
}
