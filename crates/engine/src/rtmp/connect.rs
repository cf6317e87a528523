//! Connects to a server up to the permission to publish or play: dialling, redirects, authentication. Relays and pulls
//! share this code; each handles its own messages afterwards.

use std::{io, time::Duration};

use bytes::Buf;
use gostream_proto::rtmp::{
    auth,
    client::{self, ClientSession, Event, Intent, Request},
    url::RtmpUrl,
};
use tokio::time::timeout;

use super::{
    dial::{Dialer, Socket},
    error::Failure,
    feed::PLATFORM_CHUNK_BYTES,
    steps::{Step, Steps},
    transport::{Exchanged, Transport},
};
use crate::{
    random::{fill_random, random_filler},
    spec::Target,
};

/// [`ConnectOptions::permission`] of relays and pulls.
pub(crate) const PERMISSION: Duration = Duration::from_secs(15);
/// Connections per attempt: authentication needs three, redirects a few.
const HOPS_MAX: usize = 6;

/// Options for a connection to a server.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Whether to publish or to play.
    pub intent: Intent,
    /// Whether to announce Enhanced RTMP.
    pub enhanced: bool,
    /// `flashVer` in `connect`; `None` for the value that OBS sends.
    pub flash_version: Option<String>,
    /// Bytes of one read.
    pub read_bytes: usize,
    /// Time from each connection to the permission to publish.
    pub permission: Duration,
}

/// A connection to an RTMP server.
#[derive(Debug)]
pub struct RtmpClient {
    /// The server's name, for messages.
    pub host: String,
    /// The connection's bytes.
    pub transport: Transport,
    /// The RTMP session.
    pub session: ClientSession,
}

impl RtmpClient {
    /// Connects to `target`; follows redirects and authentication. Afterwards, with [`Intent::Push`] the server accepts
    /// media; with [`Intent::Pull`] it was asked to play, and may answer once the stream is published there; with
    /// [`Intent::Probe`] it has created a stream.
    pub(crate) async fn open(
        dialer: &Dialer,
        target: &Target,
        options: &ConnectOptions,
        steps: &mut Steps,
    ) -> Result<Self, Failure> {
        let mut url = target.url.clone();
        let mut app = url.app().to_owned();
        let mut was_redirected = false;
        for _ in 0..HOPS_MAX {
            steps.begin(Step::Resolve);
            let socket = dialer.connect(&url, steps).await?;
            let mut client = Self::new(socket, &url, &app, target, options);
            match timeout(options.permission, client.negotiate(&url, options.intent, steps)).await {
                Ok(Ok(Reply::Granted)) => return Ok(client),
                Ok(Ok(Reply::Redirect(location))) => {
                    was_redirected = true;
                    url = follow(&url, &location)?;
                    url.app().clone_into(&mut app);
                }
                Ok(Ok(Reply::Authenticate(query))) => app = format!("{}?{query}", url.app()),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let info = client.transport.tcp_info();
                    let failure = Failure::NoAnswer { host: client.host.clone() };
                    return Err(failure.unless_large_packets_are_lost(info, &client.host));
                }
            }
        }
        // Without a redirect, the server asked for the login each time.
        match was_redirected {
            true => Err(Failure::RedirectLoop { host: target.url.host().to_owned() }),
            false => Err(Failure::LoginRejected),
        }
    }

    fn new(socket: Socket, url: &RtmpUrl, app: &str, target: &Target, options: &ConnectOptions) -> Self {
        let request = Request {
            intent: options.intent,
            app: app.to_owned(),
            tc_url: url.tc_url_with_app(app),
            name: target.key.expose().to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: options.enhanced,
            flash_version: options.flash_version.clone(),
        };
        Self {
            host: url.host().to_owned(),
            transport: Transport::new(socket, options.read_bytes),
            session: ClientSession::new(request, random_filler()),
        }
    }

    /// Exchanges messages until the server accepts, refuses or redirects.
    async fn negotiate(&mut self, url: &RtmpUrl, intent: Intent, steps: &mut Steps) -> Result<Reply, Failure> {
        loop {
            let host = self.host.clone();
            if self.exchange_all().await.is_err() {
                let info = self.transport.tcp_info();
                let failure = match self.session.is_handshaken() {
                    true => closed_during(self.session.step(), host),
                    false => Failure::NotRtmp { host },
                };
                return Err(failure.unless_large_packets_are_lost(info, &self.host));
            }
            loop {
                let event = self.next_event()?;
                if steps.current().0 == Step::Handshake && self.session.is_handshaken() {
                    steps.advance_to(Step::RtmpConnect);
                }
                let Some(event) = event else { break };
                match event {
                    Event::Connected => steps.advance_to(Step::CreateStream),
                    // Pending messages are sent before media.
                    Event::Ready => return Ok(Reply::Granted),
                    Event::StreamCreated if intent != Intent::Push => {
                        steps.finish();
                        return Ok(Reply::Granted);
                    }
                    Event::Redirect(location) => return Ok(Reply::Redirect(location)),
                    Event::Refused { step, code, description } => {
                        let answer = authentication(url, &description).map(Reply::Authenticate);
                        return answer.ok_or_else(|| Failure::from_refusal(step, code, description));
                    }
                    Event::Ended => return Err(closed_during(self.session.step(), host)),
                    _ => {}
                }
            }
        }
    }

    /// Writes everything that is pending, then reads or writes once.
    async fn exchange_all(&mut self) -> io::Result<Exchanged> {
        while self.session.outbox().has_remaining() {
            self.write_some().await?;
        }
        self.transport.exchange(self.session.outbox()).await
    }

    /// The next event from the received bytes.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        self.session.next_event(&mut self.transport.received).map_err(|error| {
            tracing::debug!(relay.host = self.host, %error, "The server sent invalid RTMP.");
            Failure::NotRtmp { host: self.host.clone() }
        })
    }

    /// Writes some of the pending bytes.
    pub async fn write_some(&mut self) -> io::Result<usize> {
        let bytes = self.transport.write(self.session.outbox()).await?;
        self.flush_last().await?;
        Ok(bytes)
    }

    /// Flushes once nothing is pending: TLS may hold back bytes.
    pub async fn flush_last(&mut self) -> io::Result<()> {
        if self.session.outbox().has_remaining() { Ok(()) } else { self.transport.flush().await }
    }
}

/// The server's reply to one connection.
enum Reply {
    Granted,
    Redirect(String),
    Authenticate(String),
}

/// The URL that a platform redirects to. A redirect from TLS to plain RTMP is refused: it would expose the stream key.
pub(crate) fn follow(url: &RtmpUrl, location: &str) -> Result<RtmpUrl, Failure> {
    let host = || url.host().to_owned();
    let next = url.join(location).map_err(|_| Failure::NotRtmp { host: host() })?;
    if url.is_tls() && !next.is_tls() { Err(Failure::InsecureRedirect { host: host() }) } else { Ok(next) }
}

/// The query for the next connection's application, if the refusal asks for Adobe authentication and the URL has a
/// login.
fn authentication(url: &RtmpUrl, description: &str) -> Option<String> {
    let mut challenge = [0; 4];
    fill_random(&mut challenge);
    let challenge = format!("{:08x}", u32::from_be_bytes(challenge));
    match auth::next_step(description, url.login()?, &challenge)? {
        auth::LoginStep::Query(query) => Some(query),
        auth::LoginStep::Refused => None,
    }
}

/// The failure when a server closes without a refusal: nginx-rtmp does so for an unknown application, others for a
/// wrong key.
pub(crate) fn closed_during(step: client::Step, host: String) -> Failure {
    match step {
        client::Step::Connect | client::Step::CreateStream => Failure::ConnectRejected { answer: Default::default() },
        client::Step::Start => Failure::KeyRejected { answer: Default::default() },
        client::Step::Running => Failure::ConnectionLost { host },
    }
}
