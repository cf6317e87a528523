//! A connection to a platform by RTMP, from the first byte to the last.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Buf;
use gostream_proto::rtmp::client::{self, Intent};
use gostream_tcp::TcpInfo;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::{
    behind::Behind,
    context::Context,
    counters::Counters,
    session::{Event, Finish, Session},
    way::{Slow, Way},
};
use crate::ticks::{Ticks, ticks_in};
use crate::{
    broadcast::subscription::{Delivery, Subscription},
    limits::OUTBOX_BYTES,
    rtmp::{
        connect::{Ask, Conversation, follow},
        error::Failure,
        feed::{Audience, Feed, Filled},
        steps::Steps,
        wire::Exchanged,
    },
    spec::Target,
};

/// Platforms say little: acknowledgements, pings, now and then a status.
const READ_BYTES: usize = 2 * 1024;
/// Nothing acknowledged for this long is a stall that the user should see.
const STALL_SHOWN: Duration = Duration::from_secs(5);
/// Nothing acknowledged for this long ends the connection.
const STALL_ENDS: Duration = Duration::from_secs(15);
/// How often the kernel is asked what the platform acknowledged, about as often as the status is made.
const LOOK_TICKS: u64 = ticks_in(Duration::from_millis(480));
/// The same until the first media was acknowledged: nobody should wait for a look to be live.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection that may publish.
#[derive(Debug)]
pub(crate) struct RtmpSession {
    target: Target,
    line: Conversation,
    feed: Feed,
    counters: Arc<Counters>,
    /// When the platform last acknowledged something, or had nothing left to acknowledge.
    progress_at: Instant,
    /// What it acknowledged, as the kernel counts.
    acknowledged: Option<u64>,
    /// When to look at that again.
    look: Look,
    flow: Flow,
    behind: Behind,
    way: Way,
    /// Why it falls behind, as the relay knows it.
    slow: Option<Slow>,
}

/// Whether media arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// None was sent yet.
    Dry,
    /// The first was sent and not acknowledged yet.
    Begun,
    /// It arrives.
    Steady,
    /// It stopped arriving.
    Stuck,
}

/// When to look at what the platform acknowledged.
#[derive(Debug)]
enum Look {
    /// Soon: the first media is on its way.
    First(Pin<Box<Sleep>>),
    /// From time to time.
    Later(Ticks),
}

impl Look {
    /// Waits for it. Cancel safe.
    async fn due(&mut self) {
        match self {
            Self::First(sleep) => sleep.as_mut().await,
            Self::Later(ticks) => ticks.next().await,
        }
    }

    fn plan(&mut self, soon: bool) {
        match self {
            _ if soon => *self = Self::First(Box::pin(sleep(FIRST_LOOK))),
            Self::First(_) => *self = Self::Later(Ticks::every(LOOK_TICKS)),
            Self::Later(_) => {}
        }
    }
}

impl Session for RtmpSession {
    /// Follows redirects and authentication.
    async fn open(context: &Context, target: &Target, counters: &Arc<Counters>) -> Result<Self, Failure> {
        let enhanced = context.broadcast.is_enhanced();
        let ask = Ask { intent: Intent::Push, enhanced, flash_version: None, read_bytes: READ_BYTES };
        let line = Conversation::open(&context.dialer, target, &ask, &mut Steps::new()).await?;
        Ok(Self {
            target: target.clone(),
            line,
            feed: Feed::new(
                Subscription::new(&context.broadcast, Delivery::Batched),
                Audience::Platform,
                context.origin.clone(),
            ),
            counters: Arc::clone(counters),
            progress_at: Instant::now(),
            acknowledged: None,
            look: Look::First(Box::pin(sleep(FIRST_LOOK))),
            flow: Flow::Dry,
            behind: Behind::new(),
            way: Way::default(),
            slow: None,
        })
    }

    async fn run(&mut self) -> Event {
        // What came together with the permission to publish.
        if let Some(event) = self.on_received() {
            return event;
        }
        loop {
            if self.line.client.outbox().remaining() < OUTBOX_BYTES && self.fill() == Filled::HeadersChanged {
                return Event::Lost(Failure::FormatChanged);
            }
            let has_all_left = !self.line.client.outbox().has_remaining();
            let Self { line: Conversation { wire, client, .. }, feed, look, .. } = self;
            // The order in which things mostly happen: packets come, they leave, and nothing else does until the next ones.
            let event = tokio::select! {
                biased;
                () = feed.changed(), if has_all_left => None,
                exchanged = wire.exchange(client.outbox()) => match exchanged {
                    Ok(Exchanged::Read) => self.on_received(),
                    Ok(Exchanged::Wrote(bytes)) => self.on_wrote(bytes).await,
                    Err(_) => Some(Event::Lost(self.lost())),
                },
                () = look.due() => self.on_look(),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn finish(mut self, how: Finish) {
        let drain = how == Finish::Drained;
        let deadline = Instant::now() + if drain { 2 * GOODBYE } else { GOODBYE };
        let goodbye = async {
            while drain && self.fill() == Filled::Media {
                self.write_all().await?;
            }
            self.write_all().await?;
            self.line.client.finish();
            self.write_all().await?;
            self.line.wire.finish().await
        };
        if timeout_at(deadline, goodbye).await.is_err() {
            tracing::debug!(relay.host = self.line.host, "The platform did not take the goodbye in time.");
        }
    }
}

impl RtmpSession {
    fn fill(&mut self) -> Filled {
        let Self { line: Conversation { client, .. }, feed, .. } = self;
        let filled = feed.fill(OUTBOX_BYTES, |media| client.send_media(media));
        self.counters.set_read(self.feed.last_read_ms(), self.feed.delay_ms(), self.feed.skipped_frames());
        filled
    }

    async fn on_wrote(&mut self, bytes: usize) -> Option<Event> {
        self.counters.add_sent(bytes);
        if self.line.flush_last().await.is_err() {
            return Some(Event::Lost(self.lost()));
        }
        if self.flow == Flow::Dry {
            self.flow = Flow::Begun;
            self.look = Look::First(Box::pin(sleep(FIRST_LOOK)));
        }
        None
    }

    /// Asks the kernel how far the platform is. What was merely written proves nothing: a dead connection takes seconds of it.
    fn on_look(&mut self) -> Option<Event> {
        let now = Instant::now();
        let info = self.line.wire.tcp_info();
        let acknowledged = info.map_or_else(|| self.counters.sent_bytes(), |info| info.acknowledged_bytes);
        let advanced = self.acknowledged.replace(acknowledged).is_some_and(|before| before != acknowledged);
        let outstanding = info.is_some_and(|info| info.has_outstanding()) || self.line.client.outbox().has_remaining();
        let arrives = advanced || !outstanding;
        if arrives {
            self.progress_at = now;
        }
        self.counters.set_rtt(info.map(|info| info.rtt));
        let silence = now - self.progress_at;
        let event = match self.flow {
            Flow::Begun if arrives => Some((Flow::Steady, Event::Flows)),
            Flow::Steady if silence >= STALL_SHOWN => Some((Flow::Stuck, Event::Stuck)),
            Flow::Stuck if arrives => Some((Flow::Steady, Event::Progress)),
            Flow::Begun | Flow::Stuck if silence >= STALL_ENDS => {
                let stalled = Failure::Stalled { host: self.line.host.clone() };
                return Some(Event::Lost(stalled.unless_large_packets_are_lost(info, &self.line.host)));
            }
            _ => None,
        };
        self.look.plan(self.flow == Flow::Begun && event.is_none());
        let Some((flow, event)) = event else { return self.falls_behind(now, info) };
        self.flow = flow;
        // A stall is more than falling behind; whether that goes on is said after it.
        self.slow = None;
        Some(event)
    }

    /// Whether it begins to fall behind, does so for another reason, or has caught up.
    fn falls_behind(&mut self, now: Instant, info: Option<TcpInfo>) -> Option<Event> {
        if let Some(info) = info {
            self.way.note(now, info);
        }
        if self.flow != Flow::Steady {
            return None;
        }
        if !self.behind.judge(now, self.feed.lag_ms(), self.feed.skipped_frames()) {
            return self.slow.take().map(|_| Event::CaughtUp);
        }
        let bbr = self.line.wire.has_bbr();
        let slow = self.way.judge(&self.line.host, now, info, bbr);
        // Figures change all the time; what is said changes with the reason.
        if self.slow.as_ref().is_some_and(|known| known.code() == slow.code()) {
            return None;
        }
        self.slow = Some(slow.clone());
        Some(Event::Behind(slow))
    }

    fn on_received(&mut self) -> Option<Event> {
        loop {
            return match self.line.next_event() {
                Err(failure) => Some(Event::Lost(failure)),
                Ok(None) => None,
                Ok(Some(client::Event::Refused { step, code, description })) => {
                    Some(Event::Lost(Failure::from_refusal(step, code, description)))
                }
                Ok(Some(client::Event::Ended)) => Some(Event::Lost(self.lost())),
                Ok(Some(client::Event::ReconnectRequest(url))) => Some(self.moved(url.as_deref())),
                Ok(Some(client::Event::Redirect(url))) => Some(self.moved(Some(&url))),
                Ok(Some(_)) => continue,
            };
        }
    }

    /// The platform wants another connection, to `location` if it is one that may be followed.
    fn moved(&self, location: Option<&str>) -> Event {
        let url = location.and_then(|location| follow(&self.target.url, location).ok());
        Event::Moved(url.map(|url| Target { url, key: self.target.key.clone() }))
    }

    async fn write_all(&mut self) -> std::io::Result<()> {
        while self.line.client.outbox().has_remaining() {
            let bytes = self.line.write_some().await?;
            self.counters.add_sent(bytes);
        }
        Ok(())
    }

    fn lost(&self) -> Failure {
        let host = self.line.host.clone();
        // A stall may end by the kernel's patience as well as by ours.
        if self.flow == Flow::Stuck { Failure::Stalled { host } } else { Failure::ConnectionLost { host } }
    }
}
