//! The counters of a relay.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// Values that change with every packet; read by the status without waiting.
#[derive(Debug, Default)]
pub struct Counters {
    sent_bytes: AtomicU64,
    read_ms: AtomicI64,
    delay_ms: AtomicI64,
    skipped_frames: AtomicU64,
    /// Skipped frames of earlier connections.
    skipped_before: AtomicU64,
    /// Round-trip time in microseconds; 0 while unknown.
    rtt_us: AtomicU64,
}

impl Counters {
    /// Bytes taken by the socket since the relay began.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Arrival of the newest packet that was passed to the connection, in ms since the broadcast began.
    pub fn read_ms(&self) -> Option<i64> {
        Some(self.read_ms.load(Ordering::Relaxed)).filter(|&ms| ms != i64::MIN)
    }

    /// The delay of the packets that are passed to the connection, in ms.
    pub fn delay_ms(&self) -> i64 {
        self.delay_ms.load(Ordering::Relaxed)
    }

    /// Video frames skipped because the destination was too slow.
    pub fn skipped_frames(&self) -> u64 {
        self.skipped_before.load(Ordering::Relaxed) + self.skipped_frames.load(Ordering::Relaxed)
    }

    /// Round-trip time to the platform in ms.
    pub fn rtt_ms(&self) -> Option<f64> {
        let us = self.rtt_us.load(Ordering::Relaxed);
        (us > 0).then(|| us as f64 / 1_000.0)
    }

    pub(super) fn set_rtt(&self, rtt: Option<Duration>) {
        self.rtt_us.store(rtt.map_or(0, |rtt| rtt.as_micros() as u64), Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_read(&self, ms: Option<i64>, delay_ms: i64, skipped_frames: u64) {
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
        self.read_ms.store(ms.unwrap_or(i64::MIN), Ordering::Relaxed);
        self.skipped_frames.store(skipped_frames, Ordering::Relaxed);
    }

    /// Resets the values of a connection that ended.
    pub(super) fn close(&self) {
        self.read_ms.store(i64::MIN, Ordering::Relaxed);
        self.set_rtt(None);
        self.skipped_before.fetch_add(self.skipped_frames.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}
