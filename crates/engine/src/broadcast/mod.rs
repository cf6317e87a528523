//! A broadcast: a stream while it runs, in memory. One writer, any number of readers.
//!
//! [`ring`] holds the newest packets, [`incoming`] what is known of the encoder's stream, and a [`subscription`] reads at its own pace.
//! Writing never waits for a reader, and [`wake_schedule`] says how often readers hear of it.

pub(crate) mod incoming;
pub mod meter;
pub(crate) mod notices;
pub mod ring;
mod speed;
pub mod subscription;
pub(crate) mod wake_schedule;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::ticks::TICK;
use crate::{
    events::EndReason,
    spec::{ProjectId, StreamId},
};
use incoming::Incoming;
use meter::Meter;
use notices::Notices;
use ring::Ring;

/// One live stream and everything its readers share.
#[derive(Debug)]
pub struct Broadcast {
    /// The stream, as the history knows it.
    pub stream: StreamId,
    /// Whose it is.
    pub project: ProjectId,
    /// When it began.
    pub started_at: SystemTime,
    /// The same moment, on the clock that only goes forward.
    born: Instant,
    ring: Mutex<Ring>,
    meter: Mutex<Meter>,
    incoming: Mutex<Incoming>,
    notices: Mutex<Notices>,
    /// One past the newest sequence number; readers wake when it moves.
    head: watch::Sender<u64>,
    /// Readers that want packets as soon as they come.
    immediate_readers: AtomicUsize,
    phase: watch::Sender<Phase>,
    /// When the phase began, in ms since the broadcast did.
    phase_ms: AtomicU64,
    /// Cancelled when destinations with a delay get no more than they have.
    cut: CancellationToken,
    /// The uplink of this server is too small for what it sends.
    uplink_short: AtomicBool,
}

/// Where a broadcast stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// An encoder sends.
    Live,
    /// The encoder dropped at that moment; readers wait.
    Dropped(Instant),
    /// No more packets will come.
    Ended(EndReason),
}

impl Broadcast {
    /// An empty broadcast.
    pub fn new(project: ProjectId, stream: StreamId) -> Arc<Self> {
        Arc::new(Self {
            stream,
            project,
            started_at: SystemTime::now(),
            born: Instant::now(),
            ring: Mutex::default(),
            meter: Mutex::default(),
            incoming: Mutex::default(),
            notices: Mutex::default(),
            head: watch::Sender::new(0),
            immediate_readers: AtomicUsize::new(0),
            phase: watch::Sender::new(Phase::Live),
            phase_ms: AtomicU64::new(0),
            cut: CancellationToken::new(),
            uplink_short: AtomicBool::new(false),
        })
    }

    /// The phase, now and as it changes.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Since when it is in that phase.
    pub fn phase_since(&self) -> SystemTime {
        self.started_at + Duration::from_millis(self.phase_ms.load(Ordering::Relaxed))
    }

    /// Whether no more packets will come.
    pub fn is_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Waits until the broadcast is over.
    pub async fn ended(&self) {
        // The sender lives as long as `self`, so this can only end one way.
        let _ = self.phase().wait_for(|phase| matches!(phase, Phase::Ended(_))).await;
    }

    /// Ends the broadcast; the first reason stays. Readers are told of the last packets first: they may have been kept for the
    /// next wake. Where the encoder ended it, destinations with a delay still get the rest.
    pub fn end(&self, reason: EndReason) {
        if !matches!(reason, EndReason::EncoderStopped | EndReason::EncoderLost) {
            self.cut.cancel();
        }
        self.wake_readers();
        self.phase.send_if_modified(|phase| {
            let open = !matches!(phase, Phase::Ended(_));
            if open {
                *phase = Phase::Ended(reason);
                self.note_phase();
            }
            open
        });
    }

    /// Cancelled once destinations with a delay get no more than they have: the owner or the server ended the stream, or another
    /// one of the project waits.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The rates and tracks of the incoming stream.
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much media comes, in kbit/s.
    pub(crate) fn kbps(&self) -> u32 {
        let now_ms = self.age_ms();
        let meter = self.meter();
        meter.video(now_ms).map_or(0, |video| video.kbps) + meter.audio(now_ms).map_or(0, |audio| audio.kbps)
    }

    /// What the owner of the stream should know of it.
    pub(crate) fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An encoder comes or is away: how fast the one before was says nothing of what is now.
    pub(crate) fn forget_speed(&self) {
        self.incoming().forget_speed();
        self.meter().set_speed(None);
        self.notices().forget_slow_encoder();
    }

    /// Whether destinations fall behind because the uplink of this server is too small.
    pub(crate) fn is_uplink_short(&self) -> bool {
        self.uplink_short.load(Ordering::Relaxed)
    }

    /// Says why, if the uplink is too small, or that it is no more.
    pub(crate) fn set_uplink(&self, short: Option<String>) {
        self.uplink_short.store(short.is_some(), Ordering::Relaxed);
        self.notices().set_uplink(short);
    }

    /// How long the broadcast has run, in ms: the clock of arrivals.
    pub fn age_ms(&self) -> i64 {
        self.ms_at(Instant::now())
    }

    pub(crate) fn ms_at(&self, moment: Instant) -> i64 {
        moment.saturating_duration_since(self.born).as_millis() as i64
    }

    pub(crate) fn moment_at(&self, ms: i64) -> Instant {
        self.born + Duration::from_millis(ms.max(0).unsigned_abs())
    }

    /// Packets are kept for destinations with a delay of up to `delay_ms`, as long as there is room.
    pub(crate) fn keep_for(&self, delay_ms: i64) {
        self.ring().keep_for(delay_ms);
    }

    /// How much memory they may take beyond what is kept of every stream.
    pub(crate) fn set_delay_room(&self, bytes: usize) {
        self.ring().set_room(bytes);
    }

    /// When the newest packet came that is due at this delay, in ms since the broadcast began.
    pub(crate) fn newest_due_ms(&self, delay_ms: i64) -> Option<i64> {
        let now_ms = self.age_ms();
        let ring = self.ring();
        if delay_ms > 0 { ring.newest_ms_until(now_ms - delay_ms) } else { ring.newest_ms() }
    }

    /// How long until the newest packet is due at this delay.
    pub(crate) fn rest_of(&self, delay_ms: i64) -> Duration {
        let due_ms = self.newest_ms().map_or(0, |newest_ms| newest_ms + delay_ms);
        Duration::from_millis((due_ms - self.age_ms()).max(0).unsigned_abs())
    }

    /// When the newest packet came, in ms since the broadcast began.
    pub fn newest_ms(&self) -> Option<i64> {
        self.ring().newest_ms()
    }

    /// Bytes of media that are held for readers.
    pub fn ring_bytes(&self) -> usize {
        self.ring().held_bytes()
    }

    /// Whether a track is in an Enhanced RTMP form that older servers do not know.
    pub fn is_enhanced(&self) -> bool {
        /// Video: bit 7 of the first byte. Audio: sound format 9 in its upper half.
        const EX_VIDEO: u8 = 0x80;
        const EX_AUDIO: u8 = 9;
        let ring = self.ring();
        let first = |header: &Option<Arc<ring::Entry>>| header.as_ref()?.packet.flv.first().copied();
        first(&ring.headers().video).is_some_and(|byte| byte & EX_VIDEO != 0)
            || first(&ring.headers().audio).is_some_and(|byte| byte >> 4 == EX_AUDIO)
    }

    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether readers are woken seldom enough for all of them.
    pub(crate) fn wakes_on_ticks(&self) -> bool {
        self.pause_between_wakes() >= TICK
    }

    /// How long to collect packets before readers are woken for them.
    pub(crate) fn pause_between_wakes(&self) -> Duration {
        wake_schedule::pause_for(self.immediate_readers.load(Ordering::Relaxed), self.born.elapsed())
    }

    /// Tells readers that there is more to read.
    pub(crate) fn wake_readers(&self) {
        let head = self.ring().head();
        self.head.send_if_modified(|seen| std::mem::replace(seen, head) != head);
    }

    /// An encoder sends again, or stopped sending. Nothing happens to an ended broadcast.
    pub(crate) fn set_phase(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let changes = !matches!(phase, Phase::Ended(_)) && *phase != next;
            if changes {
                *phase = next;
                self.note_phase();
            }
            changes
        });
    }

    fn note_phase(&self) {
        self.phase_ms.store(self.age_ms().unsigned_abs(), Ordering::Relaxed);
    }
}
