//! From a stream key to the publisher's seat: every question that is asked on the way, and asked again after every wait.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    live::{Claim, Live, Ticket},
    registry::{Request, Seating},
    shared::Shared,
    starts::Start,
};
use crate::{
    admission::Refusal,
    spec::{ProjectSpec, StreamKey},
};

/// Why a publisher gets no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The control plane does not let it in, or its account has no place left.
    Refused(Refusal),
    /// Its last stream came too fast, and its key rests for so long.
    TooFast(Duration),
    /// It, or its account, started too often. So long until the next.
    TooOften(Duration),
    /// It would have taken a free seat, and there is none.
    Occupied,
}

impl Denied {
    /// What the owner of the stream should know and do.
    pub(crate) fn sentence(self) -> String {
        match self {
            Self::Refused(refusal) => refusal.sentence().to_owned(),
            Self::TooFast(left) => format!(
                "The last stream with this key came too fast. Lower the bitrate in your encoder, and start again in {} s.",
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
    /// What the control plane answers. While it is away, a publisher may come back to a broadcast that is live here.
    pub(crate) async fn ask(&self, key: &StreamKey, peer: SocketAddr) -> Result<ProjectSpec, Refusal> {
        match self.admission.admit(key, peer).await {
            Err(Refusal::Unavailable) => self.registry.spec_by_key(key).ok_or(Refusal::Unavailable),
            answer => answer,
        }
    }

    /// The seat of the publisher with that key, in the live project or in one that begins. Nothing is waited for between the
    /// last answer and the seat.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        key: &StreamKey,
        peer: SocketAddr,
        claim: Claim,
    ) -> Result<(Arc<Live>, Ticket), Denied> {
        let mut start = None;
        loop {
            let asked = self.registry.asked();
            let spec = self.ask(key, peer).await.map_err(Denied::Refused)?;
            let now = Instant::now();
            if let Some(left) = self.resting.left(spec.id, now) {
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
                    // What destinations with a delay would still get is less than the stream that waits.
                    live.broadcast.cut().cancel();
                    live.over.cancelled().await;
                    continue;
                }
                Seating::AskAgain => continue,
                Seating::Occupied => return Err(Denied::Occupied),
                Seating::TooMany => return Err(Denied::Refused(Refusal::TooMany)),
            }
        }
    }
}
