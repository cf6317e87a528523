//! A broadcast: a running stream in memory, with one writer and any number of readers.
//!
//! [`ring`] holds the newest packets, [`incoming`] describes the encoder's stream, and each reader has a
//! [`subscription`]. Writing never waits for a reader; [`wake_schedule`] decides how often readers are woken.

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

/// One live stream and everything that its readers share.
#[derive(Debug)]
pub struct Broadcast {
    /// The id of the stream in the history.
    pub stream: StreamId,
    /// The project that it belongs to.
    pub project: ProjectId,
    /// When it began.
    pub started_at: SystemTime,
    /// `started_at` on the monotonic clock.
    born: Instant,
    ring: Mutex<Ring>,
    meter: Mutex<Meter>,
    incoming: Mutex<Incoming>,
    notices: Mutex<Notices>,
    /// One past the newest sequence number; readers wake when it moves.
    head: watch::Sender<u64>,
    /// Number of readers that want packets as soon as they arrive.
    immediate_readers: AtomicUsize,
    phase: watch::Sender<Phase>,
    /// When the phase began, in ms since the broadcast began.
    phase_ms: AtomicU64,
    /// Cancelled when destinations with a delay must not get the rest of the stream.
    cut: CancellationToken,
    /// Whether the uplink of this server is too small for its destinations.
    uplink_short: AtomicBool,
}

/// The phase of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// An encoder is connected.
    Live,
    /// The encoder dropped at that time; readers wait.
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

    /// The current phase and its changes.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// When the current phase began.
    pub fn phase_since(&self) -> SystemTime {
        self.started_at + Duration::from_millis(self.phase_ms.load(Ordering::Relaxed))
    }

    /// Whether the broadcast ended: no more packets will come.
    pub fn is_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Resolves when the broadcast ends.
    pub async fn ended(&self) {
        // The sender lives as long as `self`, so `wait_for` cannot fail.
        let _ = self.phase().wait_for(|phase| matches!(phase, Phase::Ended(_))).await;
    }

    /// Ends the broadcast; the first reason stays. Wakes readers for the last packets first, which may have been held
    /// for the next wake. If the encoder ended it, destinations with a delay still get the rest.
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

    /// Cancelled when destinations with a delay must not get the rest: the owner or the server ended the stream, or a
    /// new stream of the project waits.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The rates and tracks of the incoming stream.
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bitrate of the incoming media in kbit/s.
    pub(crate) fn kbps(&self) -> u32 {
        let now_ms = self.age_ms();
        let meter = self.meter();
        meter.video(now_ms).map_or(0, |video| video.kbps) + meter.audio(now_ms).map_or(0, |audio| audio.kbps)
    }

    /// Notices for the owner of the stream.
    pub(crate) fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An encoder connected or left: the measured speed of the previous one no longer applies.
    pub(crate) fn forget_speed(&self) {
        self.incoming().forget_speed();
        self.meter().set_speed(None);
        self.notices().forget_slow_encoder();
    }

    /// Whether destinations are late because the uplink of this server is too small.
    pub(crate) fn is_uplink_short(&self) -> bool {
        self.uplink_short.load(Ordering::Relaxed)
    }

    /// Sets the notice about an uplink that is too small, or removes it.
    pub(crate) fn set_uplink(&self, short: Option<String>) {
        self.uplink_short.store(short.is_some(), Ordering::Relaxed);
        self.notices().set_uplink(short);
    }

    /// Age of the broadcast in ms: the clock of arrivals.
    pub fn age_ms(&self) -> i64 {
        self.ms_at(Instant::now())
    }

    pub(crate) fn ms_at(&self, moment: Instant) -> i64 {
        moment.saturating_duration_since(self.born).as_millis() as i64
    }

    pub(crate) fn moment_at(&self, ms: i64) -> Instant {
        self.born + Duration::from_millis(ms.max(0).unsigned_abs())
    }

    /// Keeps packets for destinations with a delay of up to `delay_ms`, while there is room.
    pub(crate) fn keep_for(&self, delay_ms: i64) {
        self.ring().keep_for(delay_ms);
    }

    /// Sets the memory for delayed packets, in bytes, beyond what every stream may use.
    pub(crate) fn set_delay_room(&self, bytes: usize) {
        self.ring().set_room(bytes);
    }

    /// Arrival of the newest packet that is due at this delay, in ms since the broadcast began.
    pub(crate) fn newest_due_ms(&self, delay_ms: i64) -> Option<i64> {
        let now_ms = self.age_ms();
        let ring = self.ring();
        if delay_ms > 0 { ring.newest_ms_until(now_ms - delay_ms) } else { ring.newest_ms() }
    }

    /// Time until the newest packet is due at this delay.
    pub(crate) fn rest_of(&self, delay_ms: i64) -> Duration {
        let due_ms = self.newest_ms().map_or(0, |newest_ms| newest_ms + delay_ms);
        Duration::from_millis((due_ms - self.age_ms()).max(0).unsigned_abs())
    }

    /// Arrival of the newest packet, in ms since the broadcast began.
    pub fn newest_ms(&self) -> Option<i64> {
        self.ring().newest_ms()
    }

    /// Bytes of media held for readers.
    pub fn ring_bytes(&self) -> usize {
        self.ring().held_bytes()
    }

    /// Whether a track uses an Enhanced RTMP form that older servers do not support.
    pub fn is_enhanced(&self) -> bool {
        /// Video: bit 7 of the first byte. Audio: sound format 9 in the upper half of the first byte.
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

    /// Whether readers are woken on ticks only.
    pub(crate) fn wakes_on_ticks(&self) -> bool {
        self.pause_between_wakes() >= TICK
    }

    /// The current pause between two wakes of the readers.
    pub(crate) fn pause_between_wakes(&self) -> Duration {
        wake_schedule::pause_for(self.immediate_readers.load(Ordering::Relaxed), self.born.elapsed())
    }

    /// Wakes readers if there are new packets.
    pub(crate) fn wake_readers(&self) {
        let head = self.ring().head();
        self.head.send_if_modified(|seen| std::mem::replace(seen, head) != head);
    }

    /// Changes between `Live` and `Dropped`. Does nothing once the broadcast ended.
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
