//! One connection to a platform: its socket, and the timing of its behaviour.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Log, Visit,
    behaviour::{Behaviour, Deviation},
    dialogue::{Dialogue, PlatformEvent},
    kernel::held_open_to,
};

/// Serves one connection until its end.
pub(super) async fn welcome(stream: TcpStream, behaviour: Behaviour, log: &Log) {
    if behaviour.mute {
        return std::future::pending().await;
    }
    let Ok(port) = stream.local_addr().map(|address| address.port()) else { return };
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_nodelay(true);
    if behaviour.resets() {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    match behaviour.tls.clone() {
        None => Connection::new(stream, port, behaviour, log).serve().await,
        Some(tls) => {
            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                Connection::new(stream, port, behaviour, log).serve().await;
            }
        }
    }
}

struct Connection<'a, S> {
    stream: S,
    /// The platform's port.
    port: u16,
    behaviour: Behaviour,
    dialogue: Dialogue,
    received: BytesMut,
    log: &'a Log,
    visit: Option<usize>,
    agenda: Agenda,
}

/// Due times of actions, from the publish on.
#[derive(Default)]
struct Agenda {
    leave: Option<Instant>,
    say: Option<Instant>,
    ping: Option<Instant>,
}

impl Agenda {
    fn next(&self) -> Option<Instant> {
        [self.leave, self.say, self.ping].into_iter().flatten().min()
    }
}

/// The connection has ended.
struct Over;

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    fn new(stream: S, port: u16, behaviour: Behaviour, log: &'a Log) -> Self {
        let dialogue = Dialogue::new(behaviour.clone());
        let received = BytesMut::with_capacity(16 * 1024);
        Self { stream, port, behaviour, dialogue, received, log, visit: None, agenda: Agenda::default() }
    }

    async fn serve(mut self) {
        let _ = self.run().await;
        if let Some(index) = self.visit {
            self.log.change(index, |visit| visit.ended = true);
        }
    }

    async fn run(&mut self) -> Result<(), Over> {
        let mut bytes = 0;
        loop {
            self.receive().await?;
            self.send().await?;
            if self.behaviour.stop_reading_after.is_some_and(|limit| bytes >= limit) {
                return std::future::pending().await;
            }
            self.received.reserve(4_096);
            let due = self.agenda.next();
            let read = tokio::select! {
                read = self.stream.read_buf(&mut self.received) => read,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.on_due(Instant::now())?;
                    continue;
                }
            };
            let Ok(read @ 1..) = read else { return Err(Over) };
            bytes += read;
            if let Some(kbps) = self.behaviour.kbps {
                sleep(Duration::from_secs_f64(read as f64 * 8.0 / 1_000.0 / f64::from(kbps.get()))).await;
            }
        }
    }

    /// Handles received bytes.
    async fn receive(&mut self) -> Result<(), Over> {
        loop {
            let mut input = self.received.as_ref();
            let event = self.dialogue.advance(&mut input);
            let used = self.received.len() - input.len();
            self.received.advance(used);
            let Some(event) = event.map_err(|_| Over)? else { return Ok(()) };
            match event {
                PlatformEvent::Publish(key) => {
                    let concurrent = held_open_to(self.port).saturating_sub(1);
                    self.visit = Some(self.log.open(Visit { key, concurrent, ..Visit::default() }));
                    if self.dialogue.is_live() {
                        self.agenda = self.plan(Instant::now());
                    }
                    if let Some(deviation) = self.dialogue.leave_after_publish() {
                        return self.leave(deviation).await;
                    }
                }
                PlatformEvent::Leave(deviation) => return self.leave(deviation).await,
                PlatformEvent::Media(media) => self.note(|visit| {
                    visit.arrivals.push(Instant::now());
                    visit.media.push(media);
                }),
                PlatformEvent::Goodbye => self.note(|visit| visit.unpublished = true),
                PlatformEvent::Pong => self.note(|visit| visit.pongs += 1),
            }
        }
    }

    /// Closes by returning, or reads without responding until the peer closes.
    async fn leave(&mut self, deviation: Deviation) -> Result<(), Over> {
        if deviation == Deviation::Silence {
            let mut sink = [0; 4_096];
            while matches!(self.stream.read(&mut sink).await, Ok(1..)) {}
        }
        Err(Over)
    }

    async fn send(&mut self) -> Result<(), Over> {
        let at_once = if self.behaviour.byte_by_byte { 1 } else { usize::MAX };
        while self.dialogue.out.has_remaining() {
            let part = self.dialogue.out.split_to(at_once.min(self.dialogue.out.len()));
            self.stream.write_all(&part).await.map_err(|_| Over)?;
            self.stream.flush().await.map_err(|_| Over)?;
        }
        Ok(())
    }

    fn plan(&self, now: Instant) -> Agenda {
        let Behaviour { close_after, reset_after, message_after, ping_every, .. } = &self.behaviour;
        Agenda {
            leave: close_after.or(*reset_after).map(|after| now + after),
            say: message_after.as_ref().map(|(after, _)| now + *after),
            ping: ping_every.map(|every| now + every),
        }
    }

    fn on_due(&mut self, now: Instant) -> Result<(), Over> {
        if self.agenda.leave.is_some_and(|at| at <= now) {
            return Err(Over);
        }
        if self.agenda.say.take_if(|at| *at <= now).is_some()
            && let Some((_, say)) = &self.behaviour.message_after
        {
            self.dialogue.say(say);
        }
        if self.agenda.ping.is_some_and(|at| at <= now) {
            self.agenda.ping = self.behaviour.ping_every.map(|every| now + every);
            self.dialogue.ping();
        }
        Ok(())
    }

    fn note(&self, change: impl FnOnce(&mut Visit)) {
        if let Some(index) = self.visit {
            self.log.change(index, change);
        }
    }
}
