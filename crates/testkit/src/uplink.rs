//! A slow uplink: connections through it to several servers share one rate.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Mutex,
    time::{Instant, sleep_until},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Bytes read at a time: less than a frame, so that connections alternate.
const PART_BYTES: usize = 4 * 1024;

/// An uplink to several servers. Ends when dropped.
#[derive(Debug)]
pub struct Uplink {
    addresses: Vec<SocketAddr>,
    rate: Arc<Rate>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Rate {
    kbps: AtomicU32,
    /// When the uplink is idle again.
    free_at: Mutex<Instant>,
}

impl Uplink {
    /// An uplink with that rate to each of these servers, which appear as separate hosts: 127.0.0.2, 127.0.0.3, ...
    pub async fn start(kbps: u32, servers: &[SocketAddr]) -> anyhow::Result<Self> {
        let rate = Arc::new(Rate { kbps: AtomicU32::new(kbps), free_at: Mutex::new(Instant::now()) });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut addresses = Vec::new();
        for (host, &server) in (2..).zip(servers) {
            let socket = TcpSocket::new_v4()?;
            // Small, so that a full uplink has an immediate effect.
            socket.set_recv_buffer_size(16 * 1024)?;
            socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
            let listener = socket.listen(16)?;
            addresses.push(listener.local_addr()?);
            let serving = serve(listener, server, Arc::clone(&rate), tasks.clone(), stop.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
        }
        Ok(Self { addresses, rate, _stop: stop.drop_guard() })
    }

    /// The URL of the n-th server through the uplink.
    pub fn url(&self, n: usize) -> String {
        format!("rtmp://{}/app", self.addresses[n])
    }

    /// Changes the rate.
    pub fn set_kbps(&self, kbps: u32) {
        self.rate.kbps.store(kbps, Ordering::Relaxed);
    }
}

impl Rate {
    /// Waits until this many bytes have passed.
    async fn pass(&self, bytes: usize) {
        let kbps = f64::from(self.kbps.load(Ordering::Relaxed));
        let through_at = {
            let mut free_at = self.free_at.lock().await;
            *free_at = (*free_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 * 8.0 / 1_000.0 / kbps);
            *free_at
        };
        sleep_until(through_at).await;
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    rate: Arc<Rate>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    while let Ok((client, _)) = listener.accept().await {
        let forwarding = forward(client, server, Arc::clone(&rate));
        tasks.spawn(stop.clone().run_until_cancelled_owned(forwarding));
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, rate: Arc<Rate>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut part = [0; PART_BYTES];
        while let Ok(read @ 1..) = from_client.read(&mut part).await {
            rate.pass(read).await;
            if to_server.write_all(&part[..read]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}
