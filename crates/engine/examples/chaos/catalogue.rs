//! The kinds of destination: the faults, and what each platform must still receive.

use std::{num::NonZero, time::Duration};

use gostream_testkit::{
    certificate::Certificate,
    platform::{Behaviour, Deviation, LiveMessage, Login, Platform, Step},
    random::Random,
};

/// What must hold for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It receives everything, on one connection.
    Everything,
    /// It receives media in order, and each part begins at a keyframe.
    WholeGops,
    /// It never becomes live.
    Never,
    /// Its owner enables, disables, re-keys or deletes it.
    AsItsOwnerWants,
    /// Its machine is restarted occasionally.
    ComesBack,
}

/// The name of a destination without a fault of its own.
const PROMPT: &str = "its owner";

/// A destination in a round.
pub struct Slot {
    pub name: &'static str,
    pub promise: Promise,
    /// The platform that the destination's URL names.
    pub platform: Platform,
    /// The platform that it redirects to, if it does.
    pub elsewhere: Option<Platform>,
}

impl Slot {
    /// The platform that receives the media.
    pub fn target(&self) -> &Platform {
        self.elsewhere.as_ref().unwrap_or(&self.platform)
    }

    pub async fn sound() -> Self {
        Self::start("none", Promise::Everything, Behaviour::default()).await
    }

    /// An owner's destination. A slow platform takes a while to receive an unpublish, which delays what follows.
    pub async fn commanded(random: &mut Random) -> Self {
        let kbps = random.one_of(&[None, NonZero::new(1_000)]).to_owned();
        let name = if kbps.is_none() { PROMPT } else { "its owner, and it reads slowly" };
        Self::start(name, Promise::AsItsOwnerWants, Behaviour { kbps, ..Behaviour::default() }).await
    }

    /// Whether an unpublish must arrive. Slow platforms may miss it, because the wait for it is bounded.
    pub fn must_be_unpublished(&self) -> bool {
        self.name == PROMPT
    }

    pub async fn restarted() -> Self {
        Self::start("restarts", Promise::ComesBack, Behaviour::default()).await
    }

    /// A destination with a random fault.
    pub async fn faulty(random: &mut Random) -> Self {
        let (name, promise, behaviour) = draw(random);
        let mut slot = Self::start(name, promise, behaviour).await;
        if name == "redirects" {
            let elsewhere = Platform::start(Behaviour::default()).await.expect("listens");
            let instead = Deviation::Redirect(elsewhere.url());
            slot.platform = Platform::start(Behaviour::at(Step::Connect, instead)).await.expect("listens");
            slot.elsewhere = Some(elsewhere);
        }
        slot
    }

    async fn start(name: &'static str, promise: Promise, behaviour: Behaviour) -> Self {
        let platform = Platform::start(behaviour).await.expect("listens");
        Self { name, promise, platform, elsewhere: None }
    }
}

const STEPS: [Step; 4] = [Step::Handshake, Step::Connect, Step::CreateStream, Step::Publish];

fn draw(random: &mut Random) -> (&'static str, Promise, Behaviour) {
    use Promise::{Everything, Never, WholeGops};
    let plain = Behaviour::default;
    match random.within(0..20) {
        0 => ("refuses connect", Never, {
            let codes = ["NetConnection.Connect.Rejected", "NetConnection.Connect.InvalidApp"];
            no(Step::Connect, &codes, random)
        }),
        1 => ("refuses createStream", Never, no(Step::CreateStream, &["NetConnection.Call.Failed"], random)),
        2 => ("refuses publish", Never, {
            let codes = [
                "NetStream.Publish.Denied",
                "NetStream.Publish.Rejected",
                "NetStream.Publish.Unauthorized",
                "NetStream.Publish.BadName",
            ];
            no(Step::Publish, &codes, random)
        }),
        3 => ("closes at a step", Never, Behaviour::at(*random.one_of(&STEPS), Deviation::Close)),
        4 => ("resets at a step", Never, Behaviour::at(*random.one_of(&STEPS), Deviation::Reset)),
        5 => ("falls silent at a step", Never, Behaviour::at(*random.one_of(&STEPS), Deviation::Silence)),
        6 => ("mute", Never, Behaviour { mute: true, ..plain() }),
        7 => ("wants a login", Never, Behaviour { login: Some(Login { user: "u", password: "p" }), ..plain() }),
        8 => ("untrusted certificate", Never, {
            let certificate = Certificate::for_names(&["localhost"]).expect("is made");
            let tls = certificate.server(&[&rustls::version::TLS13]).expect("works");
            Behaviour { tls: Some(tls), ..plain() }
        }),
        9 => ("closes while live", WholeGops, Behaviour { close_after: Some(random.ms(0..2_000)), ..plain() }),
        10 => ("resets while live", WholeGops, Behaviour { reset_after: Some(random.ms(0..2_000)), ..plain() }),
        11 => ("error while live", WholeGops, {
            Behaviour::says(random.ms(0..2_000), LiveMessage::Error("NetStream.Failed"))
        }),
        12 => ("asks to reconnect", WholeGops, Behaviour::says(random.ms(0..3_000), LiveMessage::Reconnect(None))),
        13 => ("stops reading", WholeGops, {
            Behaviour { stop_reading_after: Some(random.within(4_000..500_000) as usize), ..plain() }
        }),
        14 => ("reads slowly", WholeGops, {
            Behaviour { kbps: NonZero::new(random.within(100..2_000) as u32), ..plain() }
        }),
        15 => ("redirects", Everything, plain()),
        16 => ("byte by byte", Everything, Behaviour { byte_by_byte: true, ..plain() }),
        17 => ("tiny chunks", Everything, {
            Behaviour { chunk_bytes: NonZero::new(random.within(1..128) as usize), ..plain() }
        }),
        18 => ("pings", Everything, Behaviour { ping_every: Some(Duration::from_millis(50)), ..plain() }),
        _ => ("odd message stream", Everything, {
            let stream_id = Some(random.within(2..1_000) as u32);
            Behaviour {
                stream_id,
                ..Behaviour::at(Step::ReleaseStream, Deviation::Refuse("NetConnection.Call.Failed"))
            }
        }),
    }
}

/// Refuses that step with one of these codes.
fn no(step: Step, codes: &[&'static str], random: &mut Random) -> Behaviour {
    let code = *random.one_of(codes);
    Behaviour::at(step, Deviation::Refuse(code))
}
