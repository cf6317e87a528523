//! The task of a pull: when to try, and what becomes of a stream.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gostream_proto::rtmp::media::{Media, MediaKind};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    super::drive::{Source, SourceEvent, Stop, drive},
    error,
    order::Order,
    source::PullSource,
};
use crate::{
    backoff::{Schedule, delay},
    broadcast::{Broadcast, Phase},
    events::EndReason,
    random::random_unit,
    rtmp::error::{Answer, Failure},
    show::{
        live::{Claim, Live, Ticket},
        seat::Denied,
        shared::Shared,
        writer::{Departed, Departure, Publisher},
    },
    spec::PullSpec,
    status::{PullState, PullStatus, RelayError},
};

/// So long a connection on which nothing comes is listened to: a server that lets us wait tells of a stream at once, but one
/// that went away says nothing.
const LISTEN: Duration = Duration::from_secs(30);
/// Between such a connection and the next.
const BREATH: Duration = Duration::from_secs(1);
/// Between two looks at a server that says that nobody publishes.
const LOOK: Duration = Duration::from_secs(10);

/// Fetches one stream for as long as it is polled.
pub(super) struct Puller {
    spec: PullSpec,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<PullStatus>,
    /// The other server said that somebody publishes.
    announced: bool,
    /// Its owner ended the stream here, and it goes on there.
    ended_by_owner: bool,
    /// Connections that led to nothing since one did.
    tries: u32,
    /// The stream comes there and is not taken here.
    declined: bool,
    /// The publisher that dropped last; the other server may still tell that it is done.
    departed: Option<Departed>,
}

/// What a connection led to.
enum Outcome {
    /// Nothing came in time.
    Silent,
    /// The server says that nobody publishes.
    Nobody,
    /// The stream stopped coming, with a reason or without.
    Dropped(Option<Failure>),
    /// The other server said that the publisher is done.
    Stopped,
    /// An encoder publishes here.
    Yielded,
    /// The stream that its owner ended still goes on there.
    Unwanted,
    /// The other server said that somebody publishes: a new connection is sure to see it.
    Again,
    /// No connection, or none that plays.
    Failed(Failure),
    /// We do not take it.
    Refused(RelayError),
}

impl Puller {
    pub(super) fn new(
        spec: PullSpec,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        status: watch::Sender<PullStatus>,
    ) -> Self {
        let (announced, ended_by_owner, declined, tries) = (false, false, false, 0);
        Self { spec, shared, orders, status, announced, ended_by_owner, tries, declined, departed: None }
    }

    /// Never ends; dropping it leaves a stream as a lost encoder does.
    pub(super) async fn run(mut self) {
        loop {
            self.until_free().await;
            let outcome = self.connection().await;
            let pause = self.judge(outcome);
            self.rest(pause).await;
        }
    }

    /// Waits while an encoder publishes here.
    async fn until_free(&mut self) {
        while let Some(live) = self.shared.registry.get(self.spec.project) {
            let mut phase = live.broadcast.phase();
            if matches!(*phase.borrow_and_update(), Phase::Ended(_)) || live.is_seat_free() {
                return;
            }
            tokio::select! {
                _ = phase.changed() => {}
                Some(order) = self.orders.recv() => drop(self.obey(order)),
            }
        }
    }

    /// Waits before the next connection, unless that should be made at once.
    async fn rest(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(order) = self.orders.recv() => if self.obey(order) {
                    return;
                },
            }
        }
    }

    /// Tells whether a connection should be made at once.
    fn obey(&mut self, order: Order) -> bool {
        self.announced = order == Order::Published;
        self.ended_by_owner = false;
        match order {
            Order::Published => self.tries = 0,
            Order::Unpublished => {
                if let Some(departed) = self.departed.take() {
                    departed.say_goodbye();
                }
            }
        }
        self.announced
    }

    /// One connection from dialling to its end.
    async fn connection(&mut self) -> Outcome {
        let (shared, target) = (Arc::clone(&self.shared), self.spec.source.clone());
        let dialer = shared.dialer.of(self.spec.account);
        let opening = PullSource::open(&dialer, &target, &shared.identity);
        tokio::pin!(opening);
        let mut source = loop {
            tokio::select! {
                opened = &mut opening => match opened {
                    Ok(source) => break source,
                    Err(failure) => return Outcome::Failed(failure),
                },
                // Being obeyed already.
                Some(order) = self.orders.recv() => drop(self.obey(order)),
            }
        };
        if !self.declined {
            self.tell(PullState::Waiting, None);
        }
        let begun = match self.first_media(&mut source).await {
            Ok(media) => self.take_seat(&source).await.map(|seat| (media, seat)),
            Err(outcome) => Err(outcome),
        };
        match begun {
            Ok((media, (live, ticket))) => self.publish(source, media, live, ticket).await,
            Err(outcome) => outcome,
        }
    }

    /// Waits until somebody publishes there: the first frame or header, behind the metadata if there was some.
    async fn first_media(&mut self, source: &mut PullSource) -> Result<Vec<Media>, Outcome> {
        let until = Instant::now() + LISTEN;
        let mut metadata = None;
        loop {
            while let Some(event) = source.next().map_err(Outcome::Failed)? {
                match event {
                    SourceEvent::Ended => return Err(Outcome::Nobody),
                    SourceEvent::Media(media) => match media.kind {
                        MediaKind::Audio | MediaKind::Video => {
                            return Ok(metadata.into_iter().chain([media]).collect());
                        }
                        MediaKind::Metadata => metadata = Some(media),
                        MediaKind::Data => {}
                    },
                }
            }
            tokio::select! {
                exchanged = source.exchange() => exchanged.map_err(Outcome::Failed)?,
                Some(order) = self.orders.recv() => if self.obey(order) {
                    return Err(Outcome::Again);
                },
                () = sleep_until(until) => return Err(Outcome::Silent),
            }
        }
    }

    /// Asks as an encoder would, and takes a seat that nobody sits in.
    async fn take_seat(&self, source: &PullSource) -> Result<(Arc<Live>, Ticket), Outcome> {
        if self.ended_by_owner {
            return Err(Outcome::Unwanted);
        }
        let peer = source.peer().unwrap_or_else(|_| SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let seat = self.shared.seat(&self.spec.source.key, peer, Claim::IfFree).await;
        seat.map_err(|denied| match denied {
            Denied::Occupied => Outcome::Yielded,
            denied => Outcome::Refused(error::denied(denied)),
        })
    }

    /// Writes the stream into the broadcast until there is no more of it.
    async fn publish(&mut self, mut source: PullSource, media: Vec<Media>, live: Arc<Live>, ticket: Ticket) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let broadcast = Arc::clone(&live.broadcast);
        let mut publisher = Publisher::new(live, ticket);
        info!(broadcast.stream = %publisher.stream(), "A stream is fetched.");
        self.tries = 0;
        self.tell(PullState::Live, None);
        media.into_iter().for_each(|media| publisher.push(media, Instant::now()));
        let stop = loop {
            tokio::select! {
                biased;
                // Whoever publishes besides is refused there.
                Some(order) = self.orders.recv() => if order == Order::Unpublished {
                    self.obey(order);
                    info!("The other server says that the publisher is done.");
                    publisher.depart(Departure::Goodbye);
                    return Outcome::Stopped;
                },
                stop = drive(&mut source, &mut publisher, &shared) => break stop,
            }
        };
        let failure = match stop {
            Stop::TakenOver => {
                info!("An encoder took over.");
                return Outcome::Yielded;
            }
            Stop::BroadcastEnded => return self.on_ended(&broadcast),
            Stop::TooFast(reason) => {
                let message = reason.advice().unwrap_or_default();
                return Outcome::Refused(RelayError { code: reason.name(), message });
            }
            Stop::Ended => None,
            Stop::Lost(failure) => Some(failure),
        };
        self.departed = Some(publisher.drop_out());
        Outcome::Dropped(failure)
    }

    fn on_ended(&mut self, broadcast: &Broadcast) -> Outcome {
        self.ended_by_owner = *broadcast.phase().borrow() == Phase::Ended(EndReason::EndedByOwner);
        if self.ended_by_owner { Outcome::Unwanted } else { Outcome::Stopped }
    }

    /// How long to wait before the next connection, and what to tell meanwhile.
    fn judge(&mut self, outcome: Outcome) -> Duration {
        self.declined = matches!(outcome, Outcome::Unwanted | Outcome::Refused(_));
        match outcome {
            Outcome::Again => Duration::ZERO,
            Outcome::Yielded => {
                self.tell(PullState::Waiting, None);
                Duration::ZERO
            }
            Outcome::Silent => {
                (self.ended_by_owner, self.tries) = (false, 0);
                BREATH
            }
            Outcome::Nobody => {
                self.ended_by_owner = false;
                self.tell(PullState::Waiting, None);
                if self.announced {
                    return self.delay(Schedule::Trouble).min(LOOK);
                }
                self.tries = 0;
                LOOK
            }
            Outcome::Stopped => {
                self.tell(PullState::Waiting, None);
                LOOK
            }
            Outcome::Dropped(failure) => {
                self.tell(PullState::Waiting, failure.as_ref().map(error::of));
                self.delay(Schedule::Trouble)
            }
            Outcome::Unwanted => {
                self.tell(PullState::Waiting, Some(error::ended_by_owner()));
                LOOK
            }
            Outcome::Failed(failure) => {
                self.tell(PullState::Failing, Some(error::of(&failure)));
                let pause = self.delay(failure.schedule());
                // Closed without a word: some servers do so where nobody publishes.
                if failure == (Failure::KeyRejected { answer: Answer::default() }) { pause.min(LOOK) } else { pause }
            }
            Outcome::Refused(error) => {
                self.tell(PullState::Failing, Some(error));
                self.delay(Schedule::Busy)
            }
        }
    }

    fn delay(&mut self, schedule: Schedule) -> Duration {
        let pause = delay(schedule, self.tries, random_unit());
        self.tries = self.tries.saturating_add(1);
        pause
    }

    /// Says how it goes; what is new about it goes to the log.
    fn tell(&self, state: PullState, error: Option<RelayError>) {
        let differs = self.status.send_if_modified(|status| {
            let begins = state == PullState::Live && status.state != PullState::Live;
            let next = PullStatus { state, plays: status.plays + u64::from(begins), last_error: error };
            let differs = *status != next;
            if let Some(error) = next.last_error.as_ref().filter(|_| differs) {
                warn!(pull.code = error.code, "{}", error.message);
            }
            *status = next;
            differs
        });
        if differs {
            self.shared.registry.stir(self.spec.project);
        }
    }
}
