//! From a stream key to the publisher's seat: all checks, which are repeated after every wait.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    live::{Claim, LiveProject, Ticket},
    registry::{Request, Seating},
    shared::Shared,
    starts::Start,
};
use crate::{
    admission::Refusal,
    spec::{ProjectSpec, StreamKey},
};

/// Why a publisher was denied a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The control plane refused it, or its account has reached its limit.
    Refused(Refusal),
    /// Its last stream was too fast; the key has this much cooldown left.
    TooFast(Duration),
    /// The project or its account started streams too often; time until the next start.
    TooOften(Duration),
    /// It asked for a free seat, and the seat is occupied.
    Occupied,
}

impl Denied {
    /// An explanation for the owner of the stream, with what to do.
    pub(crate) fn sentence(self) -> String {
        match self {
            Self::Refused(refusal) => refusal.sentence().to_owned(),
            Self::TooFast(left) => format!(
                "The last stream with this key was too fast. Lower the bitrate in your encoder, and start again in {} \
                 s.",
                left.as_secs() + 1
            ),
            Self::TooOften(left) => format!(
                "Streams of this project or account started too often. Wait {} s, and start again.",
                left.as_secs() + 1
            ),
            Self::Occupied => "Another encoder is live with this key.".to_owned(),
        }
    }
}

impl Shared {
    /// Asks the control plane. While it is unavailable, a publisher may return to a broadcast that is live here.
    pub(crate) async fn ask(&self, key: &StreamKey, peer: SocketAddr) -> Result<ProjectSpec, Refusal> {
        match self.admission.admit(key, peer).await {
            Err(Refusal::Unavailable) => self.registry.spec_by_key(key).ok_or(Refusal::Unavailable),
            answer => answer,
        }
    }

    /// Takes the seat for a publisher with that key, in the live project or a new one. There is no wait between the
    /// last answer and the seat.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        key: &StreamKey,
        peer: SocketAddr,
        claim: Claim,
    ) -> Result<(Arc<LiveProject>, Ticket), Denied> {
        let mut start = None;
        loop {
            let asked = self.registry.asked();
            let spec = self.ask(key, peer).await.map_err(Denied::Refused)?;
            let now = Instant::now();
            if let Some(left) = self.cooldown.left(spec.id, now) {
                return Err(Denied::TooFast(left));
            }
            if start.is_none() {
                start = Some(self.starts.count(&spec, now).map_err(Denied::TooOften)?);
            }
            let request = Request { spec: &spec, asked, claim, live_max: self.limits.live_per_account };
            match self.registry.seat(&request, |status| self.begin(&spec, status)) {
                Seating::Taken(live, ticket) => {
                    start.into_iter().for_each(Start::happened);
                    return Ok((live, ticket));
                }
                Seating::Ending(live) => {
                    // The new stream is more important than the rest for destinations with a delay.
                    live.broadcast.cut().cancel();
                    live.finished.cancelled().await;
                    continue;
                }
                Seating::AskAgain => continue,
                Seating::Occupied => return Err(Denied::Occupied),
                Seating::TooMany => return Err(Denied::Refused(Refusal::TooMany)),
            }
        }
    }
}
