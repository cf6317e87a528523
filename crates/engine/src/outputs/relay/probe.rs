//! Trying a destination out before the show: everything up to `publish`, which would put it on air.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use gostream_proto::rtmp::{
    client::{ClientSession, Event, Intent, Request},
    url::RtmpUrl,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::{
    limits::READ_BYTES,
    random::random_filler,
    rtmp::{
        connect::{authentication, closed_during},
        dial::{Dialer, Transport, connect_any},
        error::Failure,
        feed::PLATFORM_CHUNK_BYTES,
    },
    spec::Target,
    status::ProbeStep,
};

/// The whole conversation behind the connection.
const ANSWER: Duration = Duration::from_secs(10);
/// Connections that one try may take: authentication needs three.
const CONNECTIONS_MAX: usize = 3;

/// Tries `target` out and says how each step went; the last one may have failed.
pub(crate) async fn probe(dialer: &Dialer, target: &Target) -> Vec<ProbeStep> {
    let mut steps = Steps { done: Vec::new(), began: Instant::now() };
    if let Err((name, failure)) = run(dialer, target, &mut steps).await {
        steps.end(name, Some(failure));
    }
    steps.done
}

struct Steps {
    done: Vec<ProbeStep>,
    began: Instant,
}

impl Steps {
    /// A step that another connection has to repeat is told once.
    fn end(&mut self, name: &'static str, failure: Option<Failure>) {
        if failure.is_none() && self.done.iter().any(|step| step.name == name) {
            return;
        }
        let now = Instant::now();
        let error = failure.map(|failure| failure.for_status());
        self.done.push(ProbeStep { name, took: now - self.began, error });
        self.began = now;
    }
}

async fn run(dialer: &Dialer, target: &Target, steps: &mut Steps) -> Result<(), (&'static str, Failure)> {
    let url = &target.url;
    let failed = |name: &'static str| move |failure| (name, failure);
    let addresses = dialer.resolve(url).await.map_err(failed("resolve"))?;
    steps.end("resolve", None);
    let tcp = connect_any(addresses, url).await.map_err(failed("connect"))?;
    steps.end("connect", None);
    let mut transport = if url.is_tls() {
        let transport = dialer.wrap(tcp, url).await.map_err(failed("tls"))?;
        steps.end("tls", None);
        transport
    } else {
        Transport::Plain(tcp)
    };
    let mut app = url.app().to_owned();
    let deadline = Instant::now() + ANSWER;
    for _ in 0..CONNECTIONS_MAX {
        let request = Request {
            intent: Intent::Probe,
            tc_url: url.tc_url_with_app(&app),
            app,
            name: target.key.expose().to_owned(),
            chunk_bytes: PLATFORM_CHUNK_BYTES,
            enhanced: false,
            flash_version: None,
        };
        match converse(transport, ClientSession::new(request, random_filler()), url, deadline, steps).await? {
            Outcome::Welcome => return Ok(()),
            Outcome::Authenticate(query) => app = format!("{}?{query}", url.app()),
        }
        transport = dialer.connect(url).await.map_err(failed("rtmp_connect"))?;
    }
    Err(("rtmp_connect", Failure::LoginRejected))
}

/// What one connection led to.
enum Outcome {
    /// The platform would take a stream.
    Welcome,
    /// It wants this query behind the application of another connection.
    Authenticate(String),
}

async fn converse(
    mut transport: Transport,
    mut client: ClientSession,
    url: &RtmpUrl,
    deadline: Instant,
    steps: &mut Steps,
) -> Result<Outcome, (&'static str, Failure)> {
    let host = url.host();
    let mut received = BytesMut::with_capacity(READ_BYTES);
    let mut step = "handshake";
    loop {
        let mut input = received.as_ref();
        let event = client.advance(&mut input);
        let used = received.len() - input.len();
        received.advance(used);
        if step == "handshake" && client.is_handshaken() {
            steps.end(step, None);
            step = "rtmp_connect";
        }
        match event.map_err(|_| (step, Failure::NotRtmp { host: host.to_owned() }))? {
            Some(Event::Connected) => {
                steps.end(step, None);
                step = "create_stream";
                continue;
            }
            Some(Event::StreamCreated) => {
                steps.end(step, None);
                return Ok(Outcome::Welcome);
            }
            Some(Event::Refused { step: at, code, description }) => {
                let query = authentication(url, &description).map(Outcome::Authenticate);
                return query.ok_or_else(|| (step, Failure::from_refusal(at, code, description)));
            }
            // It works, and will be followed when the relay starts.
            Some(Event::Redirect(_)) => {
                steps.end(step, None);
                return Ok(Outcome::Welcome);
            }
            Some(_) => continue,
            None => {}
        }
        let exchange = async {
            while client.outbox().has_remaining() {
                transport.write_buf(client.outbox()).await?;
            }
            transport.flush().await?;
            transport.read_buf(&mut received).await
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok(1..)) => {}
            Ok(_) if !client.is_handshaken() => {
                let failure = Failure::NotRtmp { host: host.to_owned() };
                return Err((step, failure.unless_large_packets_are_lost(transport.tcp_info(), host)));
            }
            Ok(_) => return Err((step, closed_during(client.step(), host.to_owned()))),
            Err(_) => {
                let failure = Failure::NoAnswer { host: host.to_owned() };
                return Err((step, failure.unless_large_packets_are_lost(transport.tcp_info(), host)));
            }
        }
    }
}
