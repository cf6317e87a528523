//! One connection to a platform, from the first byte to the last.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Buf;
use gostream_proto::rtmp::{
    auth,
    client::{self, ClientSession, Intent, Request, Step},
    handshake::RANDOM_BYTES,
    url::RtmpUrl,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::{
    error::Failure,
    task::{Context, Counters},
    wire::{Exchanged, Wire},
};
use crate::{
    broadcast::{
        feed::{Audience, Feed, Filled, PLATFORM_CHUNK_BYTES},
        subscription::Haste,
    },
    limits::OUTBOX_BYTES,
    spec::Target,
};

/// From the connection to the permission to publish.
const PUBLISH: Duration = Duration::from_secs(15);
/// Nothing acknowledged for this long is a stall that the user should see.
const STALL_SHOWN: Duration = Duration::from_secs(5);
/// Nothing acknowledged for this long ends the connection.
const STALL_ENDS: Duration = Duration::from_secs(15);
/// How often the kernel is asked what the platform acknowledged, as often as the status is made.
const LOOK: Duration = Duration::from_millis(500);
/// The same until the first media was acknowledged: nobody should wait for a look to be live.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections that one attempt may take: authentication needs three, redirects a few.
const HOPS_MAX: usize = 6;

/// A connection that may publish.
#[derive(Debug)]
pub struct Session {
    host: String,
    wire: Wire,
    client: ClientSession,
    feed: Feed,
    counters: Arc<Counters>,
    /// When the platform last acknowledged something, or had nothing left to acknowledge.
    progress_at: Instant,
    /// What it acknowledged, as the kernel counts.
    acknowledged: Option<u64>,
    /// When to look at that again.
    look: Pin<Box<Sleep>>,
    flow: Flow,
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

/// What happened on it.
#[derive(Debug)]
pub enum Event {
    /// The first media arrived.
    Flows,
    /// Media stopped arriving.
    Stuck,
    /// It arrives again.
    Progress,
    /// It ended.
    Lost(Failure),
    /// The platform wants us elsewhere.
    Moved(Option<String>),
}

impl Session {
    /// Connects to `target`, follows redirects and authentication, and asks to publish.
    pub async fn open(context: &Context, target: &Target, counters: &Arc<Counters>) -> Result<Self, Failure> {
        let mut url = target.url.clone();
        let mut app = url.app().to_owned();
        for _ in 0..HOPS_MAX {
            match Self::attempt(context, &url, &app, target, counters).await? {
                Opened::Session(session) => return Ok(*session),
                Opened::Redirect(location) => {
                    url = follow(&url, &location)?;
                    url.app().clone_into(&mut app);
                }
                Opened::Authenticate(query) => app = format!("{}?{query}", url.app()),
            }
        }
        Err(Failure::NoAnswer { host: url.host().to_owned() })
    }

    async fn attempt(
        context: &Context,
        url: &RtmpUrl,
        app: &str,
        target: &Target,
        counters: &Arc<Counters>,
    ) -> Result<Opened, Failure> {
        let transport = context.dialer.connect(url).await?;
        let request = Request {
            intent: Intent::Push,
            app: app.to_owned(),
            tc_url: url.tc_url_with_app(app),
            name: target.key.expose().to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: context.broadcast.is_enhanced(),
        };
        let mut session = Self {
            host: url.host().to_owned(),
            wire: Wire::new(transport),
            client: ClientSession::new(request, random_filler()),
            // Subscribed anew once publishing may begin; until then it costs nothing.
            feed: Feed::new(context.broadcast.subscribe(Haste::Hurried), Audience::Platform, context.origin.clone()),
            counters: Arc::clone(counters),
            progress_at: Instant::now(),
            acknowledged: None,
            look: Box::pin(sleep_until(Instant::now() + FIRST_LOOK)),
            flow: Flow::Dry,
        };
        let outcome = timeout(PUBLISH, session.negotiate(url)).await;
        match outcome {
            Ok(Ok(None)) => Ok(Opened::Session(Box::new(session))),
            Ok(Ok(Some(elsewhere))) => Ok(elsewhere),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::NoAnswer { host: session.host }),
        }
    }

    /// Talks until the platform says yes (`None`), no, or elsewhere.
    async fn negotiate(&mut self, url: &RtmpUrl) -> Result<Option<Opened>, Failure> {
        loop {
            let host = self.host.clone();
            let exchanged = async {
                while self.client.outbox().has_remaining() {
                    self.write_some().await?;
                }
                self.wire.exchange(self.client.outbox()).await
            };
            if exchanged.await.is_err() {
                return Err(match self.client.is_handshaken() {
                    true => closed_during(self.client.step(), host),
                    false => Failure::NotRtmp { host },
                });
            }
            while let Some(event) = self.next_event()? {
                match event {
                    client::Event::Ready => {
                        // Anything still to be sent goes out before media.
                        return Ok(None);
                    }
                    client::Event::Redirect(location) => return Ok(Some(Opened::Redirect(location))),
                    client::Event::Refused { step, code, description } => {
                        let answer = authentication(url, &description).map(|query| Some(Opened::Authenticate(query)));
                        return answer.ok_or_else(|| Failure::from_refusal(step, code, description));
                    }
                    client::Event::Ended => return Err(closed_during(self.client.step(), host)),
                    _ => {}
                }
            }
        }
    }

    /// Sends media until something happens that the relay has to know. Cancel safe.
    pub async fn run(&mut self) -> Event {
        // What came together with the permission to publish.
        if let Some(event) = self.on_received() {
            return event;
        }
        loop {
            if self.client.outbox().remaining() < OUTBOX_BYTES && self.fill() == Filled::HeadersChanged {
                return Event::Lost(Failure::FormatChanged);
            }
            let waiting = self.client.outbox().remaining();
            let Self { wire, client, feed, look, .. } = self;
            let event = tokio::select! {
                exchanged = wire.exchange(client.outbox()) => match exchanged {
                    Ok(Exchanged::Read) => self.on_received(),
                    Ok(Exchanged::Wrote(bytes)) => self.on_wrote(bytes).await,
                    Err(_) => Some(Event::Lost(self.lost())),
                },
                () = feed.changed(), if waiting < OUTBOX_BYTES => None,
                () = look.as_mut() => self.on_look(),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// Says goodbye and closes: the platform ends the broadcast for its viewers. With `drain`, what the ring still holds
    /// goes out first.
    pub async fn finish(mut self, drain: bool) {
        let deadline = Instant::now() + if drain { 2 * GOODBYE } else { GOODBYE };
        let goodbye = async {
            while drain && self.fill() == Filled::Media {
                self.write_all().await?;
            }
            self.write_all().await?;
            self.client.finish();
            self.write_all().await?;
            self.wire.finish().await
        };
        if timeout_at(deadline, goodbye).await.is_err() {
            tracing::debug!(relay.host = self.host, "The platform did not take the goodbye in time.");
        }
    }

    fn fill(&mut self) -> Filled {
        let Self { client, feed, .. } = self;
        let filled = feed.fill(OUTBOX_BYTES, |media| client.send_media(media));
        self.counters.set_read(self.feed.last_read_ms(), self.feed.skipped_frames());
        filled
    }

    async fn on_wrote(&mut self, bytes: usize) -> Option<Event> {
        self.counters.add_sent(bytes);
        if self.flush_last().await.is_err() {
            return Some(Event::Lost(self.lost()));
        }
        if self.flow == Flow::Dry {
            self.flow = Flow::Begun;
            self.look.as_mut().reset(Instant::now() + FIRST_LOOK);
        }
        None
    }

    /// Asks the kernel how far the platform is. What was merely written proves nothing: a dead connection takes seconds of it.
    fn on_look(&mut self) -> Option<Event> {
        let now = Instant::now();
        let info = self.wire.tcp_info();
        let acknowledged = info.map_or_else(|| self.counters.sent_bytes(), |info| info.acknowledged_bytes);
        let advanced = self.acknowledged.replace(acknowledged).is_some_and(|before| before != acknowledged);
        let outstanding = info.is_some_and(|info| info.has_outstanding()) || self.client.outbox().has_remaining();
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
                return Some(Event::Lost(Failure::Stalled { host: self.host.clone() }));
            }
            _ => None,
        };
        let pause = if self.flow == Flow::Begun && event.is_none() { FIRST_LOOK } else { LOOK };
        self.look.as_mut().reset(now + pause);
        let (flow, event) = event?;
        self.flow = flow;
        Some(event)
    }

    fn on_received(&mut self) -> Option<Event> {
        loop {
            return match self.next_event() {
                Err(failure) => Some(Event::Lost(failure)),
                Ok(None) => None,
                Ok(Some(client::Event::Refused { step, code, description })) => {
                    Some(Event::Lost(Failure::from_refusal(step, code, description)))
                }
                Ok(Some(client::Event::Ended)) => Some(Event::Lost(self.lost())),
                Ok(Some(client::Event::ReconnectRequest(url))) => Some(Event::Moved(url)),
                Ok(Some(client::Event::Redirect(url))) => Some(Event::Moved(Some(url))),
                Ok(Some(_)) => continue,
            };
        }
    }

    fn next_event(&mut self) -> Result<Option<client::Event>, Failure> {
        let mut input = self.wire.received.as_ref();
        let event = self.client.advance(&mut input);
        let used = self.wire.received.len() - input.len();
        self.wire.received.advance(used);
        event.map_err(|error| {
            tracing::debug!(relay.host = self.host, %error, "The platform sent what is no RTMP.");
            Failure::NotRtmp { host: self.host.clone() }
        })
    }

    async fn write_all(&mut self) -> std::io::Result<()> {
        while self.client.outbox().has_remaining() {
            let bytes = self.write_some().await?;
            self.counters.add_sent(bytes);
        }
        Ok(())
    }

    async fn write_some(&mut self) -> std::io::Result<usize> {
        let bytes = self.wire.write(self.client.outbox()).await?;
        self.flush_last().await?;
        Ok(bytes)
    }

    /// Once nothing else waits, nothing may be held back.
    async fn flush_last(&mut self) -> std::io::Result<()> {
        if self.client.outbox().has_remaining() { Ok(()) } else { self.wire.flush().await }
    }

    fn lost(&self) -> Failure {
        let host = self.host.clone();
        // A stall may end by the kernel's patience as well as by ours.
        if self.flow == Flow::Stuck { Failure::Stalled { host } } else { Failure::ConnectionLost { host } }
    }
}

/// Where a platform sends us. Not out of TLS: the stream key would go there for everyone to read.
pub(super) fn follow(url: &RtmpUrl, location: &str) -> Result<RtmpUrl, Failure> {
    let host = || url.host().to_owned();
    let next = url.join(location).map_err(|_| Failure::NotRtmp { host: host() })?;
    if url.is_tls() && !next.is_tls() { Err(Failure::InsecureRedirect { host: host() }) } else { Ok(next) }
}

/// What one connection led to.
enum Opened {
    Session(Box<Session>),
    Redirect(String),
    Authenticate(String),
}

/// What the next connection's application carries as its query, if the refusal asks for Adobe authentication and the URL has a
/// login.
pub(super) fn authentication(url: &RtmpUrl, description: &str) -> Option<String> {
    let mut challenge = [0; 4];
    fill_random(&mut challenge);
    let challenge = format!("{:08x}", u32::from_be_bytes(challenge));
    match auth::next_step(description, url.login()?, &challenge)? {
        auth::Step::Query(query) => Some(query),
        auth::Step::Refused => None,
    }
}

/// Some servers close instead of saying no: nginx-rtmp for an unknown application, others for a wrong key.
pub(super) fn closed_during(step: Step, host: String) -> Failure {
    match step {
        Step::Connect | Step::CreateStream => Failure::ConnectRejected { answer: Default::default() },
        Step::Start => Failure::KeyRejected { answer: Default::default() },
        Step::Running => Failure::ConnectionLost { host },
    }
}

/// Random bytes for the handshake. They only have to differ; without a source of randomness zeros do as well.
pub fn random_filler() -> [u8; RANDOM_BYTES] {
    let mut filler = [0; RANDOM_BYTES];
    fill_random(&mut filler);
    filler
}

fn fill_random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        tracing::warn!(%error, "No random bytes.");
    }
}

/// A random number from 0 to 1.
pub fn random_unit() -> f64 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
