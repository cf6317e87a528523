//! Trying a destination out before the show: everything up to `publish`, which would put it on air.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use gostream_proto::rtmp::client::{ClientSession, Event, Intent, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{
    dial::{Dialer, Transport, connect_any},
    error::Failure,
    session::{closed_during, random_filler},
};
use crate::{broadcast::feed::PLATFORM_CHUNK_BYTES, limits::READ_BYTES, spec::Target, status::ProbeStep};

/// The whole conversation behind the connection.
const ANSWER: Duration = Duration::from_secs(10);

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
    fn end(&mut self, name: &'static str, failure: Option<Failure>) {
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
    let transport = if url.is_tls() {
        let transport = dialer.wrap(tcp, url).await.map_err(failed("tls"))?;
        steps.end("tls", None);
        transport
    } else {
        Transport::Plain(tcp)
    };
    let request = Request {
        intent: Intent::Probe,
        app: url.app().to_owned(),
        tc_url: url.tc_url(),
        name: target.key.expose().to_owned(),
        chunk_bytes: PLATFORM_CHUNK_BYTES,
        enhanced: false,
    };
    converse(transport, ClientSession::new(request, random_filler()), url.host(), steps).await
}

async fn converse(
    mut transport: Transport,
    mut client: ClientSession,
    host: &str,
    steps: &mut Steps,
) -> Result<(), (&'static str, Failure)> {
    let deadline = Instant::now() + ANSWER;
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
                return Ok(());
            }
            Some(Event::Refused { step: at, code, description }) => {
                return Err((step, Failure::from_refusal(at, code, description)));
            }
            // It works, and will be followed when the relay starts.
            Some(Event::Redirect(_)) => {
                steps.end(step, None);
                return Ok(());
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
            Ok(_) if !client.is_handshaken() => return Err((step, Failure::NotRtmp { host: host.to_owned() })),
            Ok(_) => return Err((step, closed_during(client.step(), host.to_owned()))),
            Err(_) => return Err((step, Failure::NoAnswer { host: host.to_owned() })),
        }
    }
}
