//! One round: an encoder, its destinations and an owner; the invariants are checked at the end.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use gostream_engine::{
    EndReason, EngineConfig, EngineEvent,
    events::{self, EventReceiver},
    spec::{DestinationId, ProjectSpec, StreamKey},
    status::RelayState,
};
use gostream_testkit::{
    PATIENCE,
    platform::{Behaviour, Platform, Visit},
    random::Random,
};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    catalogue::{Promise, Slot},
    check,
    show::Show,
    stage::{Stage, config, destination},
    tally::{Statistics, Tally},
};

/// Poll interval for conditions without a notification.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

type States = BTreeMap<DestinationId, HashSet<RelayState>>;

/// Plays a round; panics if an invariant is violated.
pub async fn run(seed: u64) -> Tally {
    let mut random = Random::seeded(seed);
    let tasks = tasks_alive();
    let mut stage = Stage::with(EngineConfig { reconnect_grace: PATIENCE, ..config() }).await;
    let reasons = end_reasons(std::mem::replace(&mut stage.events, events::channel(1).1));
    let mut slots = vec![Slot::sound().await, Slot::commanded(&mut random).await, Slot::restarted().await];
    for _ in 0..random.within(8..16) {
        slots.push(Slot::faulty(&mut random).await);
    }
    let (witness, mut owner) = Owner::of(&stage, &mut slots, Random::seeded(random.number()));
    let states = watch_states(&stage, &owner.spec);

    let mut show = Show::begin(stage.address, &witness.platform, random).await;
    for (n, slot) in std::iter::once(&witness).chain(&slots).enumerate() {
        if slot.promise == Promise::Everything {
            stage.until_relay(&owner.spec, n, RelayState::Live).await;
        }
    }
    let over = CancellationToken::new();
    let (mut visits_before, ()) = tokio::join!(owner.act(&stage, &mut slots, &over), async {
        show.go_on().await;
        over.cancel();
    });
    owner.settle(&stage, &slots).await;
    show.until_all_arrived().await;

    let mut tally = Tally::default();
    show.incidents.drain(..).chain(owner.commands.drain(..)).for_each(|what| tally.note_incident(what));
    let sent = show.end().await;
    stage.until_offline(owner.spec.id).await;
    let states = states.await.expect("watches");
    slots.insert(0, witness);
    for (n, slot) in slots.iter().enumerate() {
        let mut visits = if slot.promise == Promise::ComesBack { std::mem::take(&mut visits_before) } else { vec![] };
        visits.extend(judge(slot, &sent).await);
        let seen = states.get(&owner.all[n]).cloned().unwrap_or_default();
        assert!(slot.promise != Promise::Never || !seen.contains(&RelayState::Live), "{}: is never live", slot.name);
        tally.note(slot.name, Statistics::of(seen, slot.platform.connections(), &visits));
    }
    stage.engine.shutdown().await;
    drop(stage);
    assert_eq!(reasons.await.expect("listens"), [EndReason::EncoderStopped], "one stream, ended by its goodbye");
    for slot in slots {
        slot.platform.stop().await;
        if let Some(elsewhere) = slot.elsewhere {
            elsewhere.stop().await;
        }
    }
    until_tasks_end(tasks).await;
    tally
}

/// Checks what a destination received.
async fn judge(slot: &Slot, sent: &[gostream_proto::rtmp::media::Media]) -> Vec<Visit> {
    if slot.promise == Promise::Everything {
        slot.target().wait_for("the end", |visits| visits.iter().all(|visit| visit.ended)).await;
        check::holds_everything(slot.name, &slot.target().visits(), sent);
    }
    let visits = slot.target().visits();
    check::holds_for_all(slot.name, &visits, sent);
    visits
}

/// Records the states of each relay until the project is offline.
fn watch_states(stage: &Stage, spec: &ProjectSpec) -> JoinHandle<States> {
    let mut watch = stage.engine.watch(spec.id);
    tokio::spawn(async move {
        let mut states = States::new();
        while watch.changed().await.is_ok() {
            let Some(status) = watch.borrow_and_update().clone() else { break };
            for (&id, relay) in &status.relays {
                states.entry(id).or_default().insert(relay.state);
            }
        }
        states
    })
}

/// The end reasons of all streams, once the engine has stopped.
fn end_reasons(mut events: EventReceiver) -> JoinHandle<Vec<EndReason>> {
    tokio::spawn(async move {
        let mut reasons = Vec::new();
        while let Some(event) = events.recv().await {
            if let EngineEvent::StreamEnded { reason, .. } = event {
                reasons.push(reason);
            }
        }
        reasons
    })
}

fn tasks_alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn until_tasks_end(before: usize) {
    let mut looks = interval(POLL_INTERVAL);
    let ended = async {
        while tasks_alive() > before {
            looks.tick().await;
        }
    };
    let left = timeout(PATIENCE, ended).await;
    assert!(left.is_ok(), "{before} tasks before the round, {} after it", tasks_alive());
}

/// The project's owner, who also restarts platforms.
struct Owner {
    spec: ProjectSpec,
    /// The initial destinations, by slot number.
    all: Vec<DestinationId>,
    random: Random,
    commands: Vec<String>,
    keys: usize,
}

impl Owner {
    /// Creates the project. The first slot is returned separately and is never changed.
    fn of(stage: &Stage, slots: &mut Vec<Slot>, random: Random) -> (Slot, Self) {
        let mut spec = stage.project("key", &[]);
        spec.destinations = slots.iter().enumerate().map(|(n, slot)| destination(n, &slot.platform.url())).collect();
        stage.save(&spec);
        let all = spec.destinations.iter().map(|destination| destination.id).collect();
        (slots.remove(0), Self { spec, all, random, commands: Vec::new(), keys: 0 })
    }

    /// Executes commands until the encoder has finished. Returns the visits to platforms before their restarts.
    async fn act(&mut self, stage: &Stage, slots: &mut [Slot], over: &CancellationToken) -> Vec<Visit> {
        let mut before = Vec::new();
        loop {
            let pause = self.random.ms(50..900);
            if timeout(pause, over.cancelled()).await.is_ok() {
                return before;
            }
            let command = *self.random.one_of(&["retry", "retry", "switch", "switch", "new key", "delete", "restart"]);
            self.commands.push(command.to_owned());
            match command {
                "restart" => before.extend(self.restart(stage, slots).await),
                "retry" => stage.engine.retry(self.spec.id, *self.random.one_of(&self.all)),
                _ => self.change(stage, slots, command),
            }
        }
    }

    /// Changes the owner's destination.
    fn change(&mut self, stage: &Stage, slots: &[Slot], command: &str) {
        let Some(id) = self.id_of(slots, Promise::AsItsOwnerWants) else { return };
        let Some(at) = self.spec.destinations.iter().position(|destination| destination.id == id) else {
            // It was deleted: it is created again with the same id, and must not overlap its previous connection.
            let n = self.all.iter().position(|&known| known == id).expect("is known");
            let slot = slots.iter().find(|slot| slot.promise == Promise::AsItsOwnerWants).expect("is there");
            self.spec.destinations.push(destination(n, &slot.platform.url()));
            return stage.save(&self.spec);
        };
        match command {
            "switch" => self.spec.destinations[at].enabled ^= true,
            "new key" => {
                self.keys += 1;
                self.spec.destinations[at].target.key = StreamKey::new(format!("new-key-{}", self.keys));
            }
            _ => {
                self.spec.destinations.remove(at);
            }
        }
        stage.save(&self.spec);
    }

    /// Restarts the platform reserved for restarts, and returns its earlier visits.
    async fn restart(&mut self, stage: &Stage, slots: &mut [Slot]) -> Vec<Visit> {
        let Some(id) = self.id_of(slots, Promise::ComesBack) else { return vec![] };
        let Some(slot) = slots.iter_mut().find(|slot| slot.promise == Promise::ComesBack) else { return vec![] };
        let address = slot.platform.address();
        let stands_in = Platform::start(Behaviour::default()).await.expect("listens");
        let old = std::mem::replace(&mut slot.platform, stands_in);
        let visits = old.visits();
        old.stop().await;
        sleep(self.random.ms(0..500)).await;
        slot.platform = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
        stage.engine.retry(self.spec.id, id);
        visits
    }

    /// The destination of the slot with that promise; the separate slot comes first.
    fn id_of(&self, slots: &[Slot], promise: Promise) -> Option<DestinationId> {
        let at = slots.iter().position(|slot| slot.promise == promise)?;
        self.all.get(at + 1).copied()
    }

    /// Waits until the actual state matches the desired one.
    async fn settle(&self, stage: &Stage, slots: &[Slot]) {
        for slot in slots {
            match slot.promise {
                Promise::AsItsOwnerWants => {
                    let id = self.id_of(slots, slot.promise);
                    let wanted = self.spec.destinations.iter().find(|d| Some(d.id) == id && d.enabled);
                    match wanted.map(|destination| destination.target.key.expose()) {
                        None => {
                            slot.platform.wait_for("the end", |visits| visits.iter().all(|visit| visit.ended)).await
                        }
                        Some(key) => slot.platform.wait_for(key, |visits| is_on_air(visits, key)).await,
                    }
                    if slot.must_be_unpublished() {
                        check::check_unpublished(slot.name, &slot.platform.visits());
                    }
                }
                Promise::ComesBack => {
                    if let Some(id) = self.id_of(slots, slot.promise) {
                        stage.engine.retry(self.spec.id, id);
                    }
                    slot.platform.wait_for("its return", |visits| visits.iter().any(|v| !v.media.is_empty())).await;
                }
                _ => {}
            }
        }
    }
}

/// Whether the newest visit is the only active one and uses that key.
fn is_on_air(visits: &[Visit], key: &str) -> bool {
    let Some((newest, others)) = visits.split_last() else { return false };
    newest.key == key && check::frames(&newest.media) > 0 && !newest.ended && others.iter().all(|visit| visit.ended)
}
