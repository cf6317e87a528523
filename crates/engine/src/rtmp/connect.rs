//! The way to a connection on which a server lets us publish or play: dialling, redirects, authentication. Relays and pulls
//! go it alike; what is said afterwards is theirs.

use std::{io, time::Duration};

use bytes::Buf;
use gostream_proto::rtmp::{
    auth,
    client::{self, ClientSession, Event, Intent, Request},
    url::RtmpUrl,
};
use tokio::time::timeout;

use super::{
    dial::{Dialer, Transport},
    error::Failure,
    feed::PLATFORM_CHUNK_BYTES,
    steps::{Step, Steps},
    wire::{Exchanged, Wire},
};
use crate::{
    random::{fill_random, random_filler},
    spec::Target,
};

/// From the connection to the permission to publish.
const PERMISSION: Duration = Duration::from_secs(15);
/// Connections that one attempt may take: authentication needs three, redirects a few.
const HOPS_MAX: usize = 6;

/// What to ask a server for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// To publish or to play.
    pub intent: Intent,
    /// Announce Enhanced RTMP.
    pub enhanced: bool,
    /// What to call ourselves; `None` for what OBS says.
    pub flash_version: Option<String>,
    /// Room for one read.
    pub read_bytes: usize,
}

/// A connection and what is said on it.
#[derive(Debug)]
pub struct Conversation {
    /// The server's name, for people.
    pub host: String,
    /// The bytes.
    pub wire: Wire,
    /// The words.
    pub client: ClientSession,
}

impl Conversation {
    /// Connects to `target`, follows redirects and authentication. With [`Intent::Push`] the server has said yes; with
    /// [`Intent::Pull`] it was asked to play, and may answer once the stream is published there. With [`Intent::Probe`] it would accept a stream.
    pub(crate) async fn open(dialer: &Dialer, target: &Target, ask: &Ask, steps: &mut Steps) -> Result<Self, Failure> {
        let mut url = target.url.clone();
        let mut app = url.app().to_owned();
        let mut was_redirected = false;
        for _ in 0..HOPS_MAX {
            steps.begin(Step::Resolve);
            let transport = dialer.connect(&url, steps).await?;
            let mut conversation = Self::new(transport, &url, &app, target, ask);
            match timeout(PERMISSION, conversation.negotiate(&url, ask.intent, steps)).await {
                Ok(Ok(Outcome::Granted)) => return Ok(conversation),
                Ok(Ok(Outcome::Redirect(location))) => {
                    was_redirected = true;
                    url = follow(&url, &location)?;
                    url.app().clone_into(&mut app);
                }
                Ok(Ok(Outcome::Authenticate(query))) => app = format!("{}?{query}", url.app()),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let info = conversation.wire.tcp_info();
                    let failure = Failure::NoAnswer { host: conversation.host.clone() };
                    return Err(failure.unless_large_packets_are_lost(info, &conversation.host));
                }
            }
        }
        // Without redirects it was asked for the login each time.
        match was_redirected {
            true => Err(Failure::RedirectLoop { host: target.url.host().to_owned() }),
            false => Err(Failure::LoginRejected),
        }
    }

    fn new(transport: Transport, url: &RtmpUrl, app: &str, target: &Target, ask: &Ask) -> Self {
        let request = Request {
            intent: ask.intent,
            app: app.to_owned(),
            tc_url: url.tc_url_with_app(app),
            name: target.key.expose().to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: ask.enhanced,
            flash_version: ask.flash_version.clone(),
        };
        Self {
            host: url.host().to_owned(),
            wire: Wire::new(transport, ask.read_bytes),
            client: ClientSession::new(request, random_filler()),
        }
    }

    /// Talks until the server says yes, no, or elsewhere.
    async fn negotiate(&mut self, url: &RtmpUrl, intent: Intent, steps: &mut Steps) -> Result<Outcome, Failure> {
        loop {
            let host = self.host.clone();
            if self.exchange_all().await.is_err() {
                let info = self.wire.tcp_info();
                let failure = match self.client.is_handshaken() {
                    true => closed_during(self.client.step(), host),
                    false => Failure::NotRtmp { host },
                };
                return Err(failure.unless_large_packets_are_lost(info, &self.host));
            }
            loop {
                let event = self.next_event()?;
                if steps.current().0 == Step::Handshake && self.client.is_handshaken() {
                    steps.advance_to(Step::RtmpConnect);
                }
                let Some(event) = event else { break };
                match event {
                    Event::Connected => steps.advance_to(Step::CreateStream),
                    // Anything still to be sent goes out before media.
                    Event::Ready => return Ok(Outcome::Granted),
                    Event::StreamCreated if intent != Intent::Push => {
                        steps.finish();
                        return Ok(Outcome::Granted);
                    }
                    Event::Redirect(location) => return Ok(Outcome::Redirect(location)),
                    Event::Refused { step, code, description } => {
                        let answer = authentication(url, &description).map(Outcome::Authenticate);
                        return answer.ok_or_else(|| Failure::from_refusal(step, code, description));
                    }
                    Event::Ended => return Err(closed_during(self.client.step(), host)),
                    _ => {}
                }
            }
        }
    }

    /// Writes all that waits, then reads or writes something.
    async fn exchange_all(&mut self) -> io::Result<Exchanged> {
        while self.client.outbox().has_remaining() {
            self.write_some().await?;
        }
        self.wire.exchange(self.client.outbox()).await
    }

    /// The next event in what was received.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        self.client.next_event(&mut self.wire.received).map_err(|error| {
            tracing::debug!(relay.host = self.host, %error, "The server sent what is no RTMP.");
            Failure::NotRtmp { host: self.host.clone() }
        })
    }

    /// Writes something of what waits.
    pub async fn write_some(&mut self) -> io::Result<usize> {
        let bytes = self.wire.write(self.client.outbox()).await?;
        self.flush_last().await?;
        Ok(bytes)
    }

    /// Once nothing else waits, nothing may be held back.
    pub async fn flush_last(&mut self) -> io::Result<()> {
        if self.client.outbox().has_remaining() { Ok(()) } else { self.wire.flush().await }
    }
}

/// What one connection led to.
enum Outcome {
    Granted,
    Redirect(String),
    Authenticate(String),
}

/// Where a platform sends us. Not out of TLS: the stream key would go there for everyone to read.
pub(crate) fn follow(url: &RtmpUrl, location: &str) -> Result<RtmpUrl, Failure> {
    let host = || url.host().to_owned();
    let next = url.join(location).map_err(|_| Failure::NotRtmp { host: host() })?;
    if url.is_tls() && !next.is_tls() { Err(Failure::InsecureRedirect { host: host() }) } else { Ok(next) }
}

/// What the next connection's application carries as its query, if the refusal asks for Adobe authentication and the URL has a
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

/// Some servers close instead of saying no: nginx-rtmp for an unknown application, others for a wrong key.
pub(crate) fn closed_during(step: client::Step, host: String) -> Failure {
    match step {
        client::Step::Connect | client::Step::CreateStream => Failure::ConnectRejected { answer: Default::default() },
        client::Step::Start => Failure::KeyRejected { answer: Default::default() },
        client::Step::Running => Failure::ConnectionLost { host },
    }
}
