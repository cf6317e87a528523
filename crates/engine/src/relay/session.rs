//! One connection to a platform, from the first byte to the last.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use gostream_proto::rtmp::{
    auth,
    client::{self, ClientSession, Intent, Request, Step},
    handshake::RANDOM_BYTES,
    url::RtmpUrl,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    dial::{Dialer, Transport},
    error::Failure,
    task::Counters,
};
use crate::{
    broadcast::{
        Broadcast,
        feed::{Audience, Feed, Filled, PLATFORM_CHUNK_BYTES},
    },
    limits::{OUTBOX_BYTES, READ_BYTES},
    spec::Target,
};

/// From the connection to the permission to publish.
const PUBLISH: Duration = Duration::from_secs(15);
/// No byte taken for this long is a stall that the user should see.
const STALL_SHOWN: Duration = Duration::from_secs(5);
/// No byte taken for this long ends the connection.
const STALL_ENDS: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections that one attempt may take: authentication needs three, redirects a few.
const HOPS_MAX: usize = 6;

/// A connection that may publish.
#[derive(Debug)]
pub struct Session {
    host: String,
    reader: ReadHalf<Transport>,
    writer: WriteHalf<Transport>,
    received: BytesMut,
    client: ClientSession,
    feed: Feed,
    counters: Arc<Counters>,
    /// When bytes last left, or began to wait.
    progress_at: Instant,
    flows: bool,
    stalled: bool,
}

/// What happened on it.
#[derive(Debug)]
pub enum Event {
    /// The first media left.
    Flows,
    /// Bytes stopped leaving.
    Stuck,
    /// They leave again.
    Progress,
    /// It ended.
    Lost(Failure),
    /// The platform wants us elsewhere.
    Moved(Option<String>),
}

impl Session {
    /// Connects to `target`, follows redirects and authentication, and asks to publish.
    pub async fn open(
        dialer: &Dialer,
        target: &Target,
        broadcast: &Arc<Broadcast>,
        counters: &Arc<Counters>,
    ) -> Result<Self, Failure> {
        let mut url = target.url.clone();
        let mut app = url.app().to_owned();
        for _ in 0..HOPS_MAX {
            match Self::attempt(dialer, &url, &app, target, broadcast, counters).await? {
                Opened::Session(session) => return Ok(*session),
                Opened::Redirect(location) => {
                    url = url.join(&location).map_err(|_| Failure::NotRtmp { host: url.host().to_owned() })?;
                    url.app().clone_into(&mut app);
                }
                Opened::Authenticate(query) => app = format!("{}?{query}", url.app()),
            }
        }
        Err(Failure::NoAnswer { host: url.host().to_owned() })
    }

    async fn attempt(
        dialer: &Dialer,
        url: &RtmpUrl,
        app: &str,
        target: &Target,
        broadcast: &Arc<Broadcast>,
        counters: &Arc<Counters>,
    ) -> Result<Opened, Failure> {
        let transport = dialer.connect(url).await?;
        let request = Request {
            intent: Intent::Push,
            app: app.to_owned(),
            tc_url: url.tc_url_with_app(app),
            name: target.key.expose().to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: broadcast.is_enhanced(),
        };
        let (reader, writer) = tokio::io::split(transport);
        let mut session = Self {
            host: url.host().to_owned(),
            reader,
            writer,
            received: BytesMut::with_capacity(READ_BYTES),
            client: ClientSession::new(request, random_filler()),
            // Subscribed anew once publishing may begin; until then it costs nothing.
            feed: Feed::new(broadcast.subscribe(), Audience::Platform),
            counters: Arc::clone(counters),
            progress_at: Instant::now(),
            flows: false,
            stalled: false,
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
            while self.client.outbox().has_remaining() {
                self.write_some().await.map_err(|_| Failure::NotRtmp { host: host.clone() })?;
            }
            match self.reader.read_buf(&mut self.received).await {
                Ok(1..) => {}
                _ if !self.client.is_handshaken() => return Err(Failure::NotRtmp { host }),
                _ => return Err(closed_during(self.client.step(), host)),
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
            if self.client.outbox().remaining() < OUTBOX_BYTES {
                if !self.client.outbox().has_remaining() {
                    self.progress_at = Instant::now();
                }
                if self.fill() == Filled::HeadersChanged {
                    return Event::Lost(Failure::FormatChanged);
                }
            }
            let waiting = self.client.outbox().remaining();
            let patience = if self.stalled { STALL_ENDS } else { STALL_SHOWN };
            let Self { reader, writer, received, client, feed, .. } = self;
            tokio::select! {
                read = reader.read_buf(received) => {
                    if !matches!(read, Ok(1..)) {
                        return Event::Lost(self.lost());
                    }
                    if let Some(event) = self.on_received() {
                        return event;
                    }
                }
                wrote = writer.write_buf(client.outbox()), if waiting > 0 => {
                    let Ok(1..) = wrote else { return Event::Lost(self.lost()) };
                    self.counters.add_sent(waiting - self.client.outbox().remaining());
                    if self.on_progress().await.is_err() {
                        return Event::Lost(self.lost());
                    }
                    if !std::mem::replace(&mut self.flows, true) {
                        return Event::Flows;
                    }
                    if std::mem::take(&mut self.stalled) {
                        return Event::Progress;
                    }
                }
                () = feed.changed(), if waiting < OUTBOX_BYTES => {}
                () = sleep_until(self.progress_at + patience), if waiting > 0 => {
                    if self.stalled {
                        return Event::Lost(Failure::Stalled { host: self.host.clone() });
                    }
                    self.stalled = true;
                    return Event::Stuck;
                }
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
            self.writer.shutdown().await?;
            self.until_closed().await
        };
        if timeout_at(deadline, goodbye).await.is_err() {
            tracing::debug!(relay.host = self.host, "The platform did not take the goodbye in time.");
        }
    }

    /// Reads until the platform closes. Closing first would answer whatever it still says with a reset, which takes back the
    /// goodbye and the last of the stream while they are on their way.
    async fn until_closed(&mut self) -> std::io::Result<()> {
        loop {
            self.received.clear();
            if self.reader.read_buf(&mut self.received).await? == 0 {
                return Ok(());
            }
        }
    }

    fn fill(&mut self) -> Filled {
        let Self { client, feed, .. } = self;
        let filled = feed.fill(OUTBOX_BYTES, |media| client.send_media(media));
        self.counters.set_read(self.feed.last_read_ms(), self.feed.skipped_frames());
        filled
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
        let mut input = self.received.as_ref();
        let event = self.client.advance(&mut input);
        let used = self.received.len() - input.len();
        self.received.advance(used);
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
        let bytes = self.writer.write_buf(self.client.outbox()).await?;
        if bytes == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.on_progress().await?;
        Ok(bytes)
    }

    /// TLS holds back what fits no full record; once nothing else waits it has to leave.
    async fn on_progress(&mut self) -> std::io::Result<()> {
        self.progress_at = Instant::now();
        if self.client.outbox().has_remaining() { Ok(()) } else { self.writer.flush().await }
    }

    fn lost(&self) -> Failure {
        Failure::ConnectionLost { host: self.host.clone() }
    }
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
