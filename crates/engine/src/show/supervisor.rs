//! The supervisor of one live project: starts, stops and watches its relays, ends the broadcast when the grace time is
//! over, and publishes the status.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tracing::{Instrument, info, info_span};

use super::{
    delay_room::{DelayRoom, DelayShare},
    plan::{Change, plan},
    running::Running,
    uplink::{Load, Shortage, Uplink, UplinkWatch},
};
use crate::ticks::{Ticks, ticks_in};
use crate::{
    broadcast::{Broadcast, Phase},
    events::{EndReason, EngineEvent, EventSink},
    outputs::{
        hls::{self, Hls},
        relay::{context::Context, rtmp::RtmpSession, starts::Starts, task::Relay, way::Slow},
        sink::RunningSink,
    },
    rtmp::{dial::Dialer, origin::Origin},
    spec::{DestinationId, DestinationSpec, ProjectSpec, RelayId, Target},
    status::{ProjectStatus, RelayState, RelayStatus, StreamPhase, StreamStatus},
};

/// Interval of the status in ticks; the API promises a status at most 1 s old. On ticks, so that no thread wakes for it
/// alone.
const STATUS_TICKS: u64 = ticks_in(Duration::from_millis(480));
/// Bitrates of relays cover this many status intervals.
const RATE_INTERVALS: usize = 8;
/// Time for all relays together to close at the end of a broadcast.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

/// What the supervisor is created with.
pub(crate) struct Setup {
    /// The broadcast.
    pub(crate) broadcast: Arc<Broadcast>,
    /// Its HLS output.
    pub(crate) hls: Arc<hls::Output>,
    /// The desired state.
    pub(crate) spec: watch::Receiver<ProjectSpec>,
    /// Destinations that should connect without further wait.
    pub(crate) retries: mpsc::Receiver<DestinationId>,
    /// Receives the status.
    pub(crate) status: watch::Sender<Option<Arc<ProjectStatus>>>,
    /// Events for the history.
    pub(crate) events: EventSink,
    /// Connects to servers.
    pub(crate) dialer: Dialer,
    /// How long destinations stay connected after the encoder dropped.
    pub(crate) grace: Duration,
    /// The load of all streams.
    pub(crate) uplink: Arc<Uplink>,
    /// The memory for delays of all streams.
    pub(crate) delay_room: Arc<DelayRoom>,
}

/// Runs until the broadcast ended and every relay closed.
pub(crate) async fn supervise(setup: Setup) {
    let broadcast = &setup.broadcast;
    let span = info_span!("broadcast", broadcast.project = %broadcast.project, broadcast.stream = %broadcast.stream);
    async {
        let (project, stream) = (setup.broadcast.project, setup.broadcast.stream);
        let (events, status) = (setup.events.clone(), setup.status.clone());
        let broadcast = Arc::clone(&setup.broadcast);
        info!("The stream began.");
        events.send(EngineEvent::StreamStarted { project, stream, at: broadcast.started_at });
        let reason = Supervisor::new(setup).run().await;
        events.send(EngineEvent::StreamEnded { project, stream, at: SystemTime::now(), reason });
        status.send_replace(None);
        info!(stream.end_reason = reason.name(), "The stream ended.");
    }
    .instrument(span)
    .await;
}

struct Supervisor {
    setup: Setup,
    relays: BTreeMap<RelayId, Running>,
    /// Relays that are closing. A new relay to the same destination starts after its predecessor closed.
    closing: HashMap<RelayId, JoinHandle<()>>,
    /// Outputs that are not relays.
    sinks: Vec<RunningSink>,
    /// When relays were stopped; those not listed were off from the beginning.
    stopped: HashMap<RelayId, SystemTime>,
    /// The clock and delay of each destination, shared by its legs.
    origins: HashMap<DestinationId, Origin>,
    /// Limits the starts of relays.
    starts: Starts,
    /// The phase last reported to the history. Changes can be missed; a difference to this one cannot.
    reported: Phase,
    /// End of the grace time. Computed from the wall clock once, so that it does not change with it.
    held_until: SystemTime,
    uplink: UplinkWatch,
    delay_share: DelayShare,
    changed: Arc<Notify>,
}

impl Supervisor {
    fn new(setup: Setup) -> Self {
        let uplink = UplinkWatch::new(Arc::clone(&setup.uplink), setup.broadcast.stream);
        let delay_share = setup.delay_room.share(setup.spec.borrow().account);
        Self {
            setup,
            uplink,
            delay_share,
            relays: BTreeMap::new(),
            sinks: Vec::new(),
            closing: HashMap::new(),
            stopped: HashMap::new(),
            origins: HashMap::new(),
            starts: Starts::new(Instant::now()),
            reported: Phase::Live,
            held_until: SystemTime::UNIX_EPOCH,
            changed: Arc::new(Notify::new()),
        }
    }

    async fn run(mut self) -> EndReason {
        let mut phase = self.setup.broadcast.phase();
        let mut status_ticks = Ticks::every(STATUS_TICKS);
        let changed = Arc::clone(&self.changed);
        self.sinks.push(RunningSink::start(Hls::new(Arc::clone(&self.setup.hls)), &self.setup.broadcast));
        self.apply_plan();
        loop {
            let now_in = *phase.borrow_and_update();
            self.report_phase(now_in);
            let deadline = match now_in {
                Phase::Ended(reason) => {
                    self.stop_finished_relays();
                    if self.delayed_until_ms().is_none() {
                        self.close_all().await;
                        return reason;
                    }
                    None
                }
                Phase::Dropped(at) => Some(at + self.setup.grace),
                Phase::Live => None,
            };
            self.report_notices();
            self.publish_status(now_in);
            let is_ended = matches!(now_in, Phase::Ended(_));
            tokio::select! {
                () = status_ticks.next() => self.sample(),
                () = changed.notified() => {}
                result = phase.changed() => {
                    debug_assert!(result.is_ok(), "the broadcast outlives its supervisor");
                }
                Ok(()) = self.setup.spec.changed() => self.apply_plan(),
                Some(id) = self.setup.retries.recv() => {
                    for leg in [RelayId::primary(id), RelayId::backup(id)] {
                        if let Some(running) = self.relays.get(&leg) {
                            running.relay.retry_now();
                        }
                    }
                }
                () = self.setup.broadcast.cut().cancelled(), if is_ended => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.setup.broadcast.end(EndReason::EncoderLost);
                }
            }
        }
    }

    /// Reports the phase of the broadcast to the history, if it changed since the last report.
    fn report_phase(&mut self, phase: Phase) {
        let reported = std::mem::replace(&mut self.reported, phase);
        if phase == reported {
            return;
        }
        let Broadcast { project, stream, .. } = *self.setup.broadcast;
        let reconnecting = match phase {
            Phase::Live => false,
            Phase::Dropped(at) => {
                let left = (at + self.setup.grace).saturating_duration_since(Instant::now());
                self.held_until = SystemTime::now() + left;
                true
            }
            Phase::Ended(_) => return,
        };
        // An encoder that came back and dropped again between two checks only changes the grace time.
        if reconnecting != matches!(reported, Phase::Dropped(_)) {
            let at = self.setup.broadcast.phase_since();
            self.setup.events.send(EngineEvent::StreamPhase { project, stream, at, reconnecting });
        }
    }

    fn report_notices(&self) {
        let Broadcast { project, stream, .. } = *self.setup.broadcast;
        for notice in self.setup.broadcast.notices().take_new() {
            info!(notice.code = notice.code, "{}", notice.message);
            self.setup.events.send(EngineEvent::StreamNotice { project, stream, notice });
        }
    }

    fn apply_plan(&mut self) {
        self.closing.retain(|_, task| !task.is_finished());
        let desired = self.setup.spec.borrow_and_update().destinations.clone();
        let is_desired = |id: &DestinationId| desired.iter().any(|destination| destination.id == *id);
        self.stopped.retain(|id, _| is_desired(&id.destination));
        self.origins.retain(|id, _| is_desired(id));
        for DestinationSpec { id, delay, .. } in &desired {
            let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            self.origins.entry(*id).or_default().want(delay_ms, &self.setup.broadcast);
        }
        let running = self.relays.iter().map(|(&id, running)| (id, running.relay.target.clone())).collect();
        for change in plan(&desired, &running) {
            if let Change::Stop(id) | Change::Restart(id, _) = change {
                self.stop(id);
            }
            // Nothing starts after the end. A stream that ended before the first plan still reaches delayed destinations.
            if let Change::Start(id, target) | Change::Restart(id, target) = change
                && !matches!(self.reported, Phase::Ended(_))
            {
                self.start(id, target);
            }
        }
        self.keep_delayed_packets();
    }

    /// Keeps packets for as long as the destination with the longest delay needs them.
    fn keep_delayed_packets(&mut self) {
        let delays = self.relays.keys().filter_map(|id| self.origins.get(&id.destination));
        let delay_ms = delays.map(Origin::kept_ms).max().unwrap_or(0);
        let broadcast = &self.setup.broadcast;
        let held_bytes = if delay_ms > 0 { broadcast.ring_bytes() } else { 0 };
        broadcast.set_delay_room(self.delay_share.resize(held_bytes));
        broadcast.keep_for(delay_ms);
    }

    /// After the end of the broadcast: when the last destination with a delay has received the rest, in ms since the
    /// broadcast began. `None` when no destination gets more.
    fn delayed_until_ms(&self) -> Option<i64> {
        let gets_more = |(id, running): (&RelayId, &Running)| {
            let delay_ms = self.origins.get(&id.destination)?.delay_ms();
            (delay_ms > 0 && !running.relay.is_over()).then_some(delay_ms)
        };
        let longest_ms = self.relays.iter().filter_map(gets_more).max()?;
        let newest_ms = self.setup.broadcast.newest_ms()?;
        (!self.setup.broadcast.cut().is_cancelled()).then_some(newest_ms + longest_ms)
    }

    /// After the end of the broadcast: relays that closed count as off.
    fn stop_finished_relays(&mut self) {
        let done: Vec<_> =
            self.relays.iter().filter(|(_, running)| running.relay.is_over()).map(|(&id, _)| id).collect();
        done.into_iter().for_each(|id| self.stop(id));
    }

    fn start(&mut self, id: RelayId, target: Target) {
        let relays = self.setup.spec.borrow().destinations.len() * 2;
        let not_before = self.starts.next(relays, Instant::now());
        let context = Context {
            dialer: self.setup.dialer.clone(),
            broadcast: Arc::clone(&self.setup.broadcast),
            changed: Arc::clone(&self.changed),
            events: self.setup.events.clone(),
            not_before,
            origin: self.origins.entry(id.destination).or_default().clone(),
        };
        let relay = Relay::start::<RtmpSession>(id, target, context, self.closing.remove(&id));
        let replaced = self.relays.insert(id, Running { relay, sent: VecDeque::new() });
        debug_assert!(replaced.is_none(), "two relays with one id");
    }

    fn stop(&mut self, id: RelayId) {
        debug_assert!(self.relays.contains_key(&id));
        if let Some(running) = self.relays.remove(&id) {
            self.closing.insert(id, running.relay.stop());
            self.stopped.insert(id, SystemTime::now());
        }
    }

    /// Waits until the relays notice the end of the broadcast, send the rest and close.
    async fn close_all(&mut self) {
        let mut tasks: Vec<_> = self.closing.drain().map(|(_, task)| task).collect();
        let (relays, sinks) = (std::mem::take(&mut self.relays), std::mem::take(&mut self.sinks));
        let waited = timeout(CLOSE_TIMEOUT, async {
            for running in relays.into_values() {
                running.relay.join().await;
            }
            for task in &mut tasks {
                let _ = task.await;
            }
            for sink in sinks {
                sink.stop().await;
            }
        });
        if waited.await.is_err() {
            tracing::warn!("A relay did not close in time.");
        }
    }

    fn sample(&mut self) {
        self.keep_delayed_packets();
        let now = Instant::now();
        for running in self.relays.values_mut() {
            running.sent.push_back((now, running.relay.counters.sent_bytes()));
            if running.sent.len() > RATE_INTERVALS {
                running.sent.pop_front();
            }
        }
        let load = self.load();
        let short = self.uplink.report(load, now);
        self.setup.broadcast.set_uplink(short.map(Shortage::sentence));
    }

    /// The bitrates that the relays need and achieve.
    fn load(&self) -> Load {
        let needed_kbps = u64::from(self.setup.broadcast.kbps());
        let connected = self.relays.iter().filter_map(|(id, running)| {
            let state = running.relay.view().state;
            state.is_connected().then_some((id, running, state))
        });
        let (mut load, mut counted) = (Load::default(), None);
        for (id, running, state) in connected {
            load.relays += 1;
            // The legs of a destination are neighbours in this order.
            load.destinations += u64::from(counted.replace(id.destination) != Some(id.destination));
            load.needed_kbps += needed_kbps;
            load.sent_kbps += u64::from(running.kbps());
            if state != RelayState::Live {
                *load.behind.entry(running.relay.target.url.host().to_owned()).or_default() += 1;
            }
        }
        load
    }

    fn publish_status(&self, phase: Phase) {
        let status = Arc::new(self.status(phase));
        self.setup.status.send_if_modified(|old| {
            let differs = old.as_ref() != Some(&status);
            if differs {
                *old = Some(status);
            }
            differs
        });
    }

    fn ends_at(&self) -> SystemTime {
        let ms = self.delayed_until_ms().unwrap_or_default().unsigned_abs();
        self.setup.broadcast.started_at + Duration::from_millis(ms)
    }

    fn status(&self, phase: Phase) -> ProjectStatus {
        let broadcast = &self.setup.broadcast;
        let now_ms = broadcast.age_ms();
        let meter = broadcast.meter();
        let stream = StreamStatus {
            id: broadcast.stream,
            phase: match phase {
                Phase::Dropped(_) => StreamPhase::Reconnecting { until: self.held_until },
                Phase::Live => StreamPhase::Live,
                Phase::Ended(_) => StreamPhase::Ending { until: self.ends_at() },
            },
            started_at: broadcast.started_at,
            video: meter.video(now_ms),
            audio: meter.audio(now_ms),
            received_bytes: meter.received_bytes(),
            speed_percent: meter.speed_percent(),
            ring_bytes: broadcast.ring_bytes(),
            hls_ready: self.setup.hls.is_ready(),
            notices: broadcast.notices().all().to_vec(),
        };
        drop(meter);
        let spec = self.setup.spec.borrow();
        let relay = |id: RelayId| {
            let off = || RelayStatus::off(self.stopped.get(&id).copied().unwrap_or(broadcast.started_at));
            let mut status = self.relays.get(&id).map_or_else(off, |running| running.status(broadcast));
            let delay_ms = self.origins.get(&id.destination).map_or(0, Origin::delay_ms);
            status.delay_ms = delay_ms.try_into().unwrap_or(u32::MAX);
            if status.state == RelayState::Degraded && broadcast.is_uplink_short() {
                status.last_error = Some(Slow::Uplink.for_status());
            }
            (id.destination, status)
        };
        let destinations = spec.destinations.iter();
        let backups = destinations.clone().filter(|d| d.backup.is_some()).map(|d| relay(RelayId::backup(d.id)));
        ProjectStatus {
            project: broadcast.project,
            stream,
            backups: backups.collect(),
            relays: destinations.map(|d| relay(RelayId::primary(d.id))).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
