//! A relay's connection by RTMP.

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
        connect::{ConnectOptions, PERMISSION, RtmpClient, follow},
        error::Failure,
        feed::{Audience, Feed, Filled},
        steps::Steps,
        transport::Exchanged,
    },
    spec::Target,
};

/// Bytes of one read. Platforms send little: acknowledgements, pings, sometimes a status.
const READ_BYTES: usize = 2 * 1024;
/// No acknowledgement for this long is shown as a stall.
const STALL_SHOWN: Duration = Duration::from_secs(5);
/// No acknowledgement for this long ends the connection.
const STALL_ENDS: Duration = Duration::from_secs(15);
/// How often the kernel is asked for acknowledgements; about as often as the status is published.
const ACK_CHECK_TICKS: u64 = ticks_in(Duration::from_millis(480));
/// The interval until the first media is acknowledged, so that the relay is live without delay.
const FIRST_ACK_CHECK: Duration = Duration::from_millis(10);
/// Time to end the stream and close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that may publish.
#[derive(Debug)]
pub(crate) struct RtmpSession {
    target: Target,
    client: RtmpClient,
    feed: Feed,
    counters: Arc<Counters>,
    /// When the platform last acknowledged something, or had nothing to acknowledge.
    progress_at: Instant,
    /// Acknowledged bytes, from the kernel.
    acknowledged: Option<u64>,
    /// When to check the acknowledged bytes.
    ack_check: AckCheck,
    flow: Flow,
    behind: Behind,
    way: Way,
    /// The last reported reason for being late.
    slow: Option<Slow>,
}

/// Whether media is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing was sent yet.
    Dry,
    /// The first media was sent, but not acknowledged yet.
    Begun,
    /// Media is acknowledged.
    Steady,
    /// Media is no longer acknowledged.
    Stuck,
}

/// When to check the acknowledged bytes.
#[derive(Debug)]
enum AckCheck {
    /// Soon: the first media is on its way.
    First(Pin<Box<Sleep>>),
    /// At intervals.
    Later(Ticks),
}

impl AckCheck {
    /// Waits for the time of the check. Cancel safe.
    async fn due(&mut self) {
        match self {
            Self::First(sleep) => sleep.as_mut().await,
            Self::Later(ticks) => ticks.next().await,
        }
    }

    fn plan(&mut self, soon: bool) {
        match self {
            _ if soon => *self = Self::First(Box::pin(sleep(FIRST_ACK_CHECK))),
            Self::First(_) => *self = Self::Later(Ticks::every(ACK_CHECK_TICKS)),
            Self::Later(_) => {}
        }
    }
}

impl Session for RtmpSession {
    /// Follows redirects and authentication.
    async fn open(context: &Context, target: &Target, counters: &Arc<Counters>) -> Result<Self, Failure> {
        let enhanced = context.broadcast.is_enhanced();
        let options = ConnectOptions {
            intent: Intent::Push,
            enhanced,
            flash_version: None,
            read_bytes: READ_BYTES,
            permission: PERMISSION,
        };
        let client = RtmpClient::open(&context.dialer, target, &options, &mut Steps::new()).await?;
        Ok(Self {
            target: target.clone(),
            client,
            feed: Feed::new(
                Subscription::new(&context.broadcast, Delivery::Batched),
                Audience::Platform,
                context.origin.clone(),
            ),
            counters: Arc::clone(counters),
            progress_at: Instant::now(),
            acknowledged: None,
            ack_check: AckCheck::First(Box::pin(sleep(FIRST_ACK_CHECK))),
            flow: Flow::Dry,
            behind: Behind::new(),
            way: Way::default(),
            slow: None,
        })
    }

    async fn run(&mut self) -> Event {
        // Messages that arrived together with the permission to publish.
        if let Some(event) = self.on_received() {
            return event;
        }
        loop {
            if self.client.session.outbox().remaining() < OUTBOX_BYTES && self.fill() == Filled::HeadersChanged {
                return Event::Lost(Failure::FormatChanged);
            }
            let has_all_left = !self.client.session.outbox().has_remaining();
            let Self { client: RtmpClient { transport, session, .. }, feed, ack_check, .. } = self;
            // The most frequent order of events: packets arrive, are sent, and nothing else happens until the next
            // ones.
            let event = tokio::select! {
                biased;
                () = feed.changed(), if has_all_left => None,
                exchanged = transport.exchange(session.outbox()) => match exchanged {
                    Ok(Exchanged::Read) => self.on_received(),
                    Ok(Exchanged::Wrote(bytes)) => self.on_wrote(bytes).await,
                    Err(_) => Some(Event::Lost(self.lost())),
                },
                () = ack_check.due() => self.on_ack_check(),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn finish(mut self, how: Finish) {
        let drain = how == Finish::Drained;
        let deadline = Instant::now() + if drain { 2 * CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
        let closing = async {
            while drain && self.fill() == Filled::Media {
                self.write_all().await?;
            }
            self.write_all().await?;
            self.client.session.finish();
            self.write_all().await?;
            self.client.transport.finish().await
        };
        if timeout_at(deadline, closing).await.is_err() {
            tracing::debug!(relay.host = self.client.host, "The connection did not close in time.");
        }
    }
}

impl RtmpSession {
    fn fill(&mut self) -> Filled {
        let Self { client: RtmpClient { session, .. }, feed, .. } = self;
        let filled = feed.fill(OUTBOX_BYTES, |media| session.send_media(media));
        self.counters.set_read(self.feed.last_read_ms(), self.feed.delay_ms(), self.feed.skipped_frames());
        filled
    }

    async fn on_wrote(&mut self, bytes: usize) -> Option<Event> {
        self.counters.add_sent(bytes);
        if self.client.flush_last().await.is_err() {
            return Some(Event::Lost(self.lost()));
        }
        if self.flow == Flow::Dry {
            self.flow = Flow::Begun;
            self.ack_check = AckCheck::First(Box::pin(sleep(FIRST_ACK_CHECK)));
        }
        None
    }

    /// Checks the acknowledged bytes. Written bytes prove nothing: the kernel buffers seconds of a dead connection.
    fn on_ack_check(&mut self) -> Option<Event> {
        let now = Instant::now();
        let info = self.client.transport.tcp_info();
        let acknowledged = info.map_or_else(|| self.counters.sent_bytes(), |info| info.acknowledged_bytes);
        let advanced = self.acknowledged.replace(acknowledged).is_some_and(|before| before != acknowledged);
        let outstanding =
            info.is_some_and(|info| info.has_outstanding()) || self.client.session.outbox().has_remaining();
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
                let stalled = Failure::Stalled { host: self.client.host.clone() };
                return Some(Event::Lost(stalled.unless_large_packets_are_lost(info, &self.client.host)));
            }
            _ => None,
        };
        self.ack_check.plan(self.flow == Flow::Begun && event.is_none());
        let Some((flow, event)) = event else { return self.check_lag(now, info) };
        self.flow = flow;
        // A stall is worse than being late; lateness is judged again after it.
        self.slow = None;
        Some(event)
    }

    /// Reports that the relay became late, the reason changed, or it caught up.
    fn check_lag(&mut self, now: Instant, info: Option<TcpInfo>) -> Option<Event> {
        if let Some(info) = info {
            self.way.note(now, info);
        }
        if self.flow != Flow::Steady {
            return None;
        }
        if !self.behind.judge(now, self.feed.lag_ms(), self.feed.skipped_frames()) {
            return self.slow.take().map(|_| Event::CaughtUp);
        }
        let bbr = self.client.transport.has_bbr();
        let slow = self.way.judge(&self.client.host, now, info, bbr);
        // The measured values change all the time; only a new reason is an event.
        if self.slow.as_ref().is_some_and(|known| known.code() == slow.code()) {
            return None;
        }
        self.slow = Some(slow.clone());
        Some(Event::Behind(slow))
    }

    fn on_received(&mut self) -> Option<Event> {
        loop {
            return match self.client.next_event() {
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

    /// The platform wants another connection, to `location` if that may be followed.
    fn moved(&self, location: Option<&str>) -> Event {
        let url = location.and_then(|location| follow(&self.target.url, location).ok());
        Event::Moved(url.map(|url| Target { url, key: self.target.key.clone() }))
    }

    async fn write_all(&mut self) -> std::io::Result<()> {
        while self.client.session.outbox().has_remaining() {
            let bytes = self.client.write_some().await?;
            self.counters.add_sent(bytes);
        }
        Ok(())
    }

    fn lost(&self) -> Failure {
        let host = self.client.host.clone();
        // The kernel may end a stalled connection before the relay does.
        if self.flow == Flow::Stuck { Failure::Stalled { host } } else { Failure::ConnectionLost { host } }
    }
}
