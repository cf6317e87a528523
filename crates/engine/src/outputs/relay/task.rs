//! The task of a relay: a thin shell around its [`State`]. It owns the connection and performs the state's actions.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info, info_span, warn};

use super::{
    context::Context,
    counters::Counters,
    session::{self, Finish, Session},
    state::{Action, Event, Phase, State},
    way::Slow,
};
use crate::{
    broadcast::{
        self, Broadcast,
        subscription::{Delivery, Subscription},
    },
    events::{EngineEvent, RelayTotals},
    random::random_unit,
    rtmp::error::Failure,
    spec::{RelayId, Target},
    status::{RelayError, RelayState},
};

/// Time for the first connection after the last packet is due: a very short stream may end before its first connections
/// are made, but should still reach its destinations.
const FIRST_CONNECTION: Duration = Duration::from_secs(5);
/// The delay is checked for changes this often while waiting for its end.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A running relay, as its supervisor holds it.
#[derive(Debug)]
pub struct Relay {
    /// Its destination.
    pub target: Target,
    /// Numbers that change with every packet.
    pub counters: Arc<Counters>,
    view: watch::Receiver<View>,
    retry: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The visible state of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its state.
    pub state: RelayState,
    /// When it entered the state.
    pub since: SystemTime,
    /// Connections tried since the last good one.
    pub attempt: u32,
    /// When it tries again.
    pub next_attempt_at: Option<SystemTime>,
    /// Why the last connection failed or ended; in `Degraded`, why the relay is late.
    pub last_error: Option<RelayError>,
    /// How often it connected again after being live, by the code of the failure.
    pub reconnects: BTreeMap<&'static str, u32>,
}

impl Relay {
    /// Starts a relay. `after` is the task of a previous relay to the same destination that is still closing.
    pub fn start<S: Session>(id: RelayId, target: Target, context: Context, after: Option<JoinHandle<()>>) -> Self {
        let counters = Arc::new(Counters::default());
        counters.close();
        let retry = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let state = State::new(Instant::now());
        let (view, seen) = watch::channel(view_of(&state));
        let span = info_span!(parent: Span::current(), "relay", relay.destination = %id.destination, relay.leg = id.leg.name(), relay.host = target.url.host());
        let runner = Runner {
            id,
            target: target.clone(),
            moved_to: None,
            context,
            state,
            view,
            counters: Arc::clone(&counters),
            retry: Arc::clone(&retry),
            stop: stop.clone(),
            span,
        };
        let task = tokio::spawn(async move {
            if let Some(after) = after {
                let _ = after.await;
            }
            let changed = Arc::clone(&runner.context.changed);
            runner.run::<S>().await;
            changed.notify_one();
        });
        Self { target, counters, view: seen, retry, stop, task }
    }

    /// Its current visible state.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Ends the wait for the next attempt.
    pub fn retry_now(&self) {
        self.retry.notify_one();
    }

    /// Whether its task has ended.
    pub fn is_over(&self) -> bool {
        self.view.has_changed().is_err()
    }

    /// Waits until its task ends, which happens after the end of the broadcast.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "A relay failed.");
        }
    }

    /// Stops it; the task ends about a second later.
    pub fn stop(self) -> JoinHandle<()> {
        self.stop.cancel();
        self.task
    }
}

struct Runner {
    id: RelayId,
    target: Target,
    /// Where the platform wants the next connection.
    moved_to: Option<Target>,
    context: Context,
    state: State,
    view: watch::Sender<View>,
    counters: Arc<Counters>,
    retry: Arc<Notify>,
    stop: CancellationToken,
    /// Entered only to log, not for every packet.
    span: Span,
}

/// The relay was stopped, or its broadcast is over.
struct Stopped;

impl Runner {
    async fn run<S: Session>(mut self) {
        let outcome = self.run_until_stopped::<S>().await;
        debug_assert!(outcome.is_err());
        let totals = RelayTotals {
            sent_bytes: self.counters.sent_bytes(),
            dropped_frames: self.counters.skipped_frames(),
            reconnects: self.state.reconnects().values().sum(),
        };
        let Broadcast { project, stream, .. } = *self.context.broadcast;
        let at = SystemTime::now();
        self.context.events.send(EngineEvent::RelayEnded { project, stream, relay: self.id, at, totals });
        self.span.in_scope(|| info!("The relay ended."));
    }

    async fn run_until_stopped<S: Session>(&mut self) -> Result<(), Stopped> {
        self.wait_for_start_limit().await?;
        self.wait_for_stream().await?;
        let mut action = self.on(Event::Begin);
        loop {
            action = match action {
                // `Nothing` cannot follow an event that ends a wait or a connection.
                Action::Connect | Action::Nothing => {
                    debug_assert_eq!(self.state.phase(), Phase::Connecting);
                    let event = self.connection::<S>().await?;
                    self.on(event)
                }
                Action::Wait { until } => {
                    self.counters.close();
                    let stop = self.stop.clone();
                    let event = tokio::select! {
                        () = stop.cancelled() => return Err(Stopped),
                        stopped = broadcast_drained(&self.context, self.drain_time()) => return Err(stopped),
                        () = sleep_until(until) => Event::Due,
                        () = self.retry.notified() => Event::RetryNow,
                    };
                    self.wait_for_stream().await?;
                    self.on(event)
                }
            };
        }
    }

    /// Waits if the owner started too many relays.
    async fn wait_for_start_limit(&self) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            stopped = broadcast_drained(&self.context, self.drain_time()) => Err(stopped),
            () = sleep_until(self.context.not_before) => Ok(()),
        }
    }

    /// Waits until the relay can start and the stream continues.
    async fn wait_for_stream(&mut self) -> Result<(), Stopped> {
        let Context { broadcast, origin, .. } = &self.context;
        let mut phase = broadcast.phase();
        let mut subscription = Subscription::new(broadcast, Delivery::Batched);
        let drain_ms = self.drain_time().as_millis() as i64;
        let ready = async {
            loop {
                let delay_ms = origin.delay_ms();
                subscription.set_delay(delay_ms);
                // With a delay, packets may become due after the encoder dropped.
                let is_live = *phase.borrow_and_update() == broadcast::Phase::Live;
                let continues = is_live || delay_ms > 0 && !broadcast.rest_of(delay_ms + drain_ms).is_zero();
                if continues && subscription.can_start() {
                    return;
                }
                tokio::select! {
                    () = subscription.changed() => {}
                    Ok(()) = phase.changed() => {}
                    else => return,
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            stopped = broadcast_drained(&self.context, self.drain_time()) => Err(stopped),
            () = ready => Ok(()),
        }
    }

    /// How long after the last packet is due a connection is still useful.
    fn drain_time(&self) -> Duration {
        if self.state.attempt() <= 1 { FIRST_CONNECTION } else { Duration::ZERO }
    }

    /// Runs one connection, from dialling to its end.
    async fn connection<S: Session>(&mut self) -> Result<Event, Stopped> {
        let stop = self.stop.clone();
        let context = self.context.clone();
        let target = self.moved_to.take().unwrap_or_else(|| self.target.clone());
        let opened = tokio::select! {
            () = stop.cancelled() => return Err(Stopped),
            stopped = broadcast_drained(&context, self.drain_time()) => return Err(stopped),
            opened = S::open(&context, &target, &self.counters).instrument(self.span.clone()) => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => return Ok(Event::Lost(failure)),
        };
        self.on(Event::Accepted);
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    session.finish(Finish::AtOnce).instrument(self.span.clone()).await;
                    return Err(Stopped);
                }
                stopped = broadcast_drained(&context, Duration::ZERO) => {
                    session.finish(Finish::Drained).instrument(self.span.clone()).await;
                    return Err(stopped);
                }
                event = session.run() => event,
            };
            match event {
                session::Event::Flows => self.on(Event::Published),
                session::Event::Stuck => self.on(Event::Stuck),
                session::Event::Progress => self.on(Event::Progress),
                session::Event::Behind(slow) => self.on(Event::Behind(slow)),
                session::Event::CaughtUp => self.on(Event::CaughtUp),
                session::Event::Lost(failure) => return Ok(Event::Lost(failure)),
                session::Event::Moved(target) => {
                    self.moved_to = target;
                    return Ok(Event::Lost(Failure::Moved));
                }
            };
        }
    }

    fn on(&mut self, event: Event) -> Action {
        let span = self.span.clone();
        let _entered = span.enter();
        match &event {
            Event::Lost(failure) => warn!(relay.code = failure.code(), "{failure}"),
            Event::Behind(slow) if self.state.slow().is_none() => warn!(relay.code = slow.code(), "{slow}"),
            Event::CaughtUp => info!("The destination has caught up."),
            Event::Published => info!("The platform receives the stream."),
            _ => {}
        }
        let before = self.view.borrow().state;
        let action = self.state.on(event, Instant::now(), random_unit());
        let view = view_of(&self.state);
        if view.state != before {
            self.report_to_history(&view);
        }
        self.view.send_replace(view);
        self.context.changed.notify_one();
        action
    }

    fn report_to_history(&self, view: &View) {
        let Broadcast { project, stream, .. } = *self.context.broadcast;
        // Only problems have a reason.
        let error = match view.state {
            // If all destinations are slow, the uplink is the reason, not the platform.
            RelayState::Degraded if self.context.broadcast.is_uplink_short() => Some(Slow::Uplink.for_status()),
            RelayState::Backoff | RelayState::Rejected | RelayState::Degraded => view.last_error.clone(),
            RelayState::Connecting
                if matches!(self.state.last_failure(), Some(Failure::FormatChanged | Failure::Moved)) =>
            {
                view.last_error.clone()
            }
            _ => None,
        };
        let (relay, at, state) = (self.id, view.since, view.state);
        self.context.events.send(EngineEvent::RelayChanged { project, stream, relay, at, state, error });
    }
}

/// Resolves `drain_time` after the last packet of the ended broadcast is due.
async fn broadcast_drained(Context { broadcast, origin, .. }: &Context, drain_time: Duration) -> Stopped {
    broadcast.ended().await;
    let drain_ms = drain_time.as_millis() as i64;
    loop {
        let rest = broadcast.rest_of(origin.delay_ms() + drain_ms);
        if origin.delay_ms() == 0 || rest.is_zero() {
            return Stopped;
        }
        tokio::select! {
            () = broadcast.cut().cancelled() => return Stopped,
            // The delay may change meanwhile.
            () = sleep(rest.min(RECHECK_INTERVAL)) => {}
        }
    }
}

fn view_of(state: &State) -> View {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let (name, until) = match state.phase() {
        Phase::Waiting => (RelayState::Waiting, None),
        Phase::Connecting => (RelayState::Connecting, None),
        Phase::Live => (RelayState::Live, None),
        Phase::Degraded => (RelayState::Degraded, None),
        Phase::Stalled => (RelayState::Stalled, None),
        Phase::Backoff { until } => (RelayState::Backoff, Some(until)),
        Phase::Rejected { until } => (RelayState::Rejected, Some(until)),
    };
    View {
        state: name,
        since: clock - now.saturating_duration_since(state.since()),
        attempt: state.attempt(),
        next_attempt_at: until.map(|until| clock + until.saturating_duration_since(now)),
        last_error: state.slow().map(Slow::for_status).or_else(|| state.last_failure().map(Failure::for_status)),
        reconnects: state.reconnects().clone(),
    }
}
