//! Players by RTMP: each receives the whole stream at once, as ffplay or another server does.
//!
//! Most discard their bytes inside the kernel; the first few are parsed for their delay.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gostream_proto::rtmp::{client::Event, media::MediaKind};
use gostream_testkit::encoder::Encoder;
use tokio::task::JoinSet;

use crate::{discard::discard, source::Departures};

/// Number of players that are parsed message by message.
const PARSED: usize = 4;
/// Connections that are made at a time.
const AT_A_TIME: usize = 32;

/// All players of one stream.
#[derive(Debug)]
pub struct Players {
    state: Arc<State>,
    bytes: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<anyhow::Result<()>>,
}

#[derive(Debug)]
struct State {
    measures: AtomicBool,
    delays: Mutex<Vec<Duration>>,
    departures: Departures,
}

impl Players {
    /// Starts `count` players, some at a time: servers limit connections that did not ask for anything yet.
    pub async fn start(count: usize, address: SocketAddr, key: &str, departures: Departures) -> anyhow::Result<Self> {
        let state = Arc::new(State { measures: AtomicBool::new(false), delays: Mutex::default(), departures });
        let (mut bytes, mut tasks) = (Vec::new(), JoinSet::new());
        while bytes.len() < count {
            let mut connecting = JoinSet::new();
            for _ in bytes.len()..count.min(bytes.len() + AT_A_TIME) {
                let key = key.to_owned();
                connecting.spawn(async move { Encoder::play(address, &key).await });
            }
            for player in connecting.join_all().await {
                let (player, counter) = (player?, Arc::new(AtomicU64::new(0)));
                if bytes.len() < PARSED {
                    tasks.spawn(parse(player, Arc::clone(&state), Arc::clone(&counter)));
                } else {
                    let counter = Arc::clone(&counter);
                    tasks.spawn(async move {
                        let count = |bytes| {
                            counter.fetch_add(bytes as u64, Ordering::Relaxed);
                        };
                        Ok(discard(&player.into_stream(), count).await?)
                    });
                }
                bytes.push(counter);
            }
        }
        Ok(Self { state, bytes, tasks })
    }

    /// Starts to record delays.
    pub fn measure(&self) {
        self.state.measures.store(true, Ordering::Relaxed);
    }

    /// Bytes of each player.
    pub fn counts(&self) -> Vec<u64> {
        self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }

    /// The recorded delays, sorted. An error if a player was disconnected.
    pub fn delays(&mut self) -> anyhow::Result<Vec<Duration>> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
            anyhow::bail!("a player was disconnected");
        }
        let mut delays = self.state.delays.lock().unwrap_or_else(PoisonError::into_inner).clone();
        delays.sort_unstable();
        Ok(delays)
    }
}

async fn parse(mut player: Encoder, state: Arc<State>, bytes: Arc<AtomicU64>) -> anyhow::Result<()> {
    loop {
        let Event::Media(media) = player.event().await? else { continue };
        bytes.fetch_add(media.body.len() as u64, Ordering::Relaxed);
        if media.kind == MediaKind::Video && state.measures.load(Ordering::Relaxed) {
            let delay = state.departures.delay(&media.body);
            state.delays.lock().unwrap_or_else(PoisonError::into_inner).extend(delay);
        }
    }
}
