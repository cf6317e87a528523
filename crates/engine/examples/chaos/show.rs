//! The encoder of a round: sends its stream in parts, with an incident between parts.

use std::{net::SocketAddr, time::Duration};

use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Platform, Visit},
    random::Random,
    script::Script,
};

/// Shorter than any part, so that each part has several keyframes, in ms.
const GOP_MS: u32 = 400;

/// An incident of the encoder.
#[derive(Clone, Copy, Debug)]
enum Incident {
    Nothing,
    /// It sends nothing for a while.
    Pause,
    /// The connection is reset, and a new one is made.
    Reset,
    /// The connection is closed without an unpublish, and a new one is made.
    Close,
    /// Another encoder connects while this one is still connected.
    Takeover,
}

const INCIDENTS: [Incident; 5] =
    [Incident::Nothing, Incident::Pause, Incident::Reset, Incident::Close, Incident::Takeover];

/// An encoder and what it sent.
pub struct Show<'a> {
    address: SocketAddr,
    random: Random,
    encoder: Option<Encoder>,
    /// Previous connections that are open but idle.
    hanging: Vec<Encoder>,
    next: Script,
    /// A platform that must receive everything. Once it has a message, no incident of the encoder can lose it.
    witness: &'a Platform,
    /// What platforms must receive: codec headers once, and every frame.
    pub sent: Vec<Media>,
    pub incidents: Vec<String>,
}

impl<'a> Show<'a> {
    /// Sends headers and the first frames, so that relays can join.
    pub async fn begin(address: SocketAddr, witness: &'a Platform, mut random: Random) -> Self {
        let encoder = Some(Encoder::publish(address, "key").await.expect("is admitted"));
        let next = Script {
            start: random.number() as u32,
            ms: GOP_MS / 2,
            gop_ms: GOP_MS,
            frame_bytes: random.within(300..20_000) as usize,
            ..Script::default()
        };
        let mut show = Self {
            address,
            random,
            encoder,
            hanging: Vec::new(),
            next,
            witness,
            sent: Vec::new(),
            incidents: Vec::new(),
        };
        show.send_headers().await;
        show.sent.extend(show.next.headers());
        show.send_part().await;
        show
    }

    /// Sends the rest.
    pub async fn go_on(&mut self) {
        for _ in 0..self.random.within(4..8) {
            self.next.ms = self.random.within(10..40) as u32 * 40;
            self.send_part().await;
            let incident = *self.random.one_of(&INCIDENTS);
            self.incidents.push(format!("{incident:?}"));
            self.suffer(incident).await;
        }
    }

    /// Sends the unpublish.
    pub async fn end(self) -> Vec<Media> {
        self.encoder.expect("is connected").stop().await.expect("says goodbye");
        self.sent
    }

    async fn send_headers(&mut self) {
        let headers = self.next.headers();
        self.encoder().send_all(&headers).await.expect("is taken");
    }

    async fn send_part(&mut self) {
        let frames = self.next.frames();
        self.encoder().send_paced(&frames, 1.0).await.expect("is taken");
        self.sent.extend(frames);
        self.next.start = self.next.start.wrapping_add(self.next.ms);
        self.next.seed += 1;
    }

    async fn suffer(&mut self, incident: Incident) {
        let pause = self.random.ms(0..1_000);
        match incident {
            Incident::Nothing => {}
            Incident::Pause => {
                tokio::time::sleep(pause).await;
                self.next.start = self.next.start.wrapping_add(pause.as_millis() as u32);
            }
            Incident::Reset | Incident::Close | Incident::Takeover => {
                // Media in transit may be lost with its connection, which is not a fault.
                self.until_all_arrived().await;
                self.replace(incident, pause).await;
            }
        }
    }

    /// Replaces the connection; the old one is closed or left open.
    async fn replace(&mut self, incident: Incident, pause: Duration) {
        if let Some(old) = self.encoder.take() {
            match incident {
                Incident::Reset => old.reset().expect("resets"),
                Incident::Close => old.close().await.expect("is closed"),
                _ => self.hanging.push(old),
            }
        }
        tokio::time::sleep(pause).await;
        self.encoder = Some(Encoder::publish(self.address, "key").await.expect("is admitted again"));
        self.next.start = self.random.number() as u32;
        self.send_headers().await;
    }

    fn encoder(&mut self) -> &mut Encoder {
        self.encoder.as_mut().expect("is connected")
    }

    /// Waits until the witness has received every frame.
    pub async fn until_all_arrived(&self) {
        let frames = |media: &[Media]| media.iter().filter(|m| m.kind != MediaKind::Metadata).count();
        let wanted = frames(&self.sent);
        let arrived = |visits: &[Visit]| visits.iter().map(|visit| frames(&visit.media)).sum::<usize>() >= wanted;
        self.witness.wait_for(&format!("all {wanted} messages"), arrived).await;
    }
}
