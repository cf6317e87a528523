//! The history writer: turns engine events into rows, in order. [`repair`] repairs rows whose events were lost.

mod line;
mod repair;
mod writer;

use std::time::Duration;

use gostream_engine::{Engine, EngineEvent, events::EventReceiver};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(crate) use self::writer::{EVENTS_MAX, Writer};

/// The interval at which rows are compared with the live streams.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

impl Writer {
    /// Writes events until the engine is gone or `stop` is cancelled. After `stop` it writes the queued events and
    /// returns.
    pub(crate) async fn run(mut self, mut events: EventReceiver, engine: Engine, stop: CancellationToken) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                // A continuous flow of events must not starve the sweep.
                _ = sweep.tick(), if !stop.is_cancelled() => {
                    tokio::select! {
                        () = self.repair(&engine, &events) => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                event = events.recv() => event,
                // The queue is empty, and no events follow after the stop.
                () = stop.cancelled() => None,
            };
            let Some(event) = event else { return };
            if let EngineEvent::RelayChanged { error: Some(error), state, .. } = &event
                && !state.is_connected()
            {
                self.metrics.relay_failed(error.code);
            }
            let is_written = self.take(event, &stop).await;
            if !is_written {
                events.lose();
            }
        }
    }
}

#[cfg(test)]
mod tests;
