//! A running relay with its bitrate.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::{broadcast::Broadcast, outputs::relay::task::Relay, status::RelayStatus};

/// A relay, as the supervisor holds it.
pub(super) struct Running {
    pub(super) relay: Relay,
    /// Sent bytes at the last status intervals.
    pub(super) sent: VecDeque<(Instant, u64)>,
}

impl Running {
    /// Its current status; the supervisor sets `delay_ms`.
    pub(super) fn status(&self, broadcast: &Broadcast) -> RelayStatus {
        let view = self.relay.view();
        let counters = &self.relay.counters;
        let due = broadcast.newest_due_ms(counters.delay_ms());
        let lag = due.zip(counters.read_ms()).map_or(0, |(due, read)| (due - read).max(0));
        let flows = view.state.is_connected();
        RelayStatus {
            state: view.state,
            since: view.since,
            attempt: view.attempt,
            next_attempt_at: view.next_attempt_at,
            last_error: view.last_error,
            sent_bytes: counters.sent_bytes(),
            kbps: if flows { self.kbps() } else { 0 },
            delay_ms: 0,
            lag_ms: lag.try_into().unwrap_or(u32::MAX),
            rtt_ms: counters.rtt_ms(),
            dropped_frames: counters.skipped_frames(),
            reconnects: view.reconnects.values().sum(),
            reconnects_by: view.reconnects,
        }
    }

    /// Bitrate in kbit/s over the last status intervals.
    pub(super) fn kbps(&self) -> u32 {
        let (Some(&(from, before)), Some(&(to, after))) = (self.sent.front(), self.sent.back()) else { return 0 };
        let ms = (to - from).as_millis() as u64;
        // Bits per millisecond are kilobits per second.
        (after - before)
            .saturating_mul(8)
            .checked_div(ms)
            .map_or(0, |kbps| kbps.try_into().unwrap_or(u32::MAX))
    }
}
