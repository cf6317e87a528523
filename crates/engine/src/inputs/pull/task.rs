//! The task of a pull: a thin shell around its [`State`]. It owns the connection and acts on the state's decisions.

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
    source::PullSource,
    state::{Next, Outcome, State},
    upstream::Upstream,
};
use crate::{
    broadcast::{Broadcast, Phase},
    random::random_unit,
    show::{
        live::{Claim, LiveProject, Ticket},
        seat::Denied,
        shared::Shared,
        writer::{Departed, Departure, Publisher},
    },
    spec::PullSpec,
    status::{PullState, PullStatus, RelayError},
};

/// How long a connection without media is kept. A waiting server sends a stream as soon as it is published, but a dead
/// server says nothing.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Pulls one stream while it is polled.
pub(super) struct Puller {
    spec: PullSpec,
    shared: Arc<Shared>,
    reports: mpsc::Receiver<Upstream>,
    status: watch::Sender<PullStatus>,
    state: State,
    /// The publisher that dropped last; the upstream server may still report that it ended the stream.
    departed: Option<Departed>,
}

impl Puller {
    pub(super) fn new(
        spec: PullSpec,
        shared: Arc<Shared>,
        reports: mpsc::Receiver<Upstream>,
        status: watch::Sender<PullStatus>,
    ) -> Self {
        Self { spec, shared, reports, status, state: State::default(), departed: None }
    }

    /// Never ends. Dropping it leaves the stream as a lost encoder does.
    pub(super) async fn run(mut self) {
        loop {
            self.until_free().await;
            let outcome = self.connection().await;
            let Next { pause, status } = self.state.on_outcome(outcome, random_unit());
            if let Some((state, error)) = status {
                self.set_status(state, error);
            }
            self.wait(pause).await;
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
                Some(report) = self.reports.recv() => drop(self.on_report(report)),
            }
        }
    }

    /// Waits before the next connection; a report may end the wait.
    async fn wait(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Some(report) = self.reports.recv() => if self.on_report(report) {
                    return;
                },
            }
        }
    }

    /// Returns true when a connection should be made at once.
    fn on_report(&mut self, report: Upstream) -> bool {
        if report == Upstream::Unpublished
            && let Some(departed) = self.departed.take()
        {
            departed.say_goodbye();
        }
        self.state.on_report(report)
    }

    /// Runs one connection, from dialling to its end.
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
                // A connection is already being made.
                Some(report) = self.reports.recv() => drop(self.on_report(report)),
            }
        };
        if let Some(state) = self.state.on_connected() {
            self.set_status(state, None);
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

    /// Waits until the stream is published upstream. Returns its first audio or video message, and the metadata before
    /// it.
    async fn first_media(&mut self, source: &mut PullSource) -> Result<Vec<Media>, Outcome> {
        let until = Instant::now() + REPLY_TIMEOUT;
        let mut metadata = None;
        loop {
            while let Some(event) = source.next().map_err(Outcome::Failed)? {
                match event {
                    SourceEvent::Ended => return Err(Outcome::NotPublished),
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
                Some(report) = self.reports.recv() => if self.on_report(report) {
                    return Err(Outcome::Announced);
                },
                () = sleep_until(until) => return Err(Outcome::Silent),
            }
        }
    }

    /// Requests the seat as an encoder does, but only if it is free.
    async fn take_seat(&self, source: &PullSource) -> Result<(Arc<LiveProject>, Ticket), Outcome> {
        if !self.state.is_wanted() {
            return Err(Outcome::Unwanted);
        }
        let peer = source.peer().unwrap_or_else(|_| SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let seat = self.shared.seat(&self.spec.source.key, peer, Claim::IfFree).await;
        seat.map_err(|denied| match denied {
            Denied::Occupied => Outcome::Yielded,
            denied => Outcome::Refused(error::denied(denied)),
        })
    }

    /// Writes the stream into the broadcast until it stops.
    async fn publish(
        &mut self,
        mut source: PullSource,
        media: Vec<Media>,
        live: Arc<LiveProject>,
        ticket: Ticket,
    ) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let broadcast = Arc::clone(&live.broadcast);
        let mut publisher = Publisher::new(live, ticket);
        info!(broadcast.stream = %publisher.stream(), "A stream is pulled.");
        self.state.on_published();
        self.set_status(PullState::Live, None);
        media.into_iter().for_each(|media| publisher.push(media, Instant::now()));
        let stop = loop {
            tokio::select! {
                biased;
                // The upstream server has one publisher at a time, so this is the end of the stream that is played.
                Some(report) = self.reports.recv() => if report == Upstream::Unpublished {
                    self.on_report(report);
                    info!("The upstream server reports the end of the stream.");
                    publisher.depart(Departure::Goodbye);
                    return Outcome::Unpublished;
                },
                stop = drive(&mut source, &mut publisher, &shared) => break stop,
            }
        };
        let failure = match stop {
            Stop::TakenOver => {
                info!("An encoder took over.");
                return Outcome::Yielded;
            }
            Stop::BroadcastEnded => return broadcast_ended(&broadcast),
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

    /// Sets the status. Logs a new error.
    fn set_status(&self, state: PullState, error: Option<RelayError>) {
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
            self.shared.registry.notify_watchers(self.spec.project);
        }
    }
}

fn broadcast_ended(broadcast: &Broadcast) -> Outcome {
    match *broadcast.phase().borrow() {
        Phase::Ended(reason) => Outcome::BroadcastEnded(reason),
        // The phase changes to `Ended` before anything is notified.
        Phase::Live | Phase::Dropped(_) => Outcome::Unpublished,
    }
}
