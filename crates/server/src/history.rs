//! The history writer: what the engine says becomes rows, in order, and what it said in vain is mended by what is ([`mend`]).

mod line;
mod mend;
mod writer;

use std::time::Duration;

use gostream_engine::{Engine, EngineEvent, events::EventReceiver};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(crate) use self::writer::{EVENTS_MAX, Writer};

/// How often the rows are compared with what is live.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

impl Writer {
    /// Writes events until the engine is gone, or until `stop`, after which it writes what is left and returns.
    pub(crate) async fn run(mut self, mut events: EventReceiver, engine: Engine, stop: CancellationToken) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                // Events without end must not keep the sweep away.
                _ = sweep.tick(), if !stop.is_cancelled() => {
                    tokio::select! {
                        () = self.mend(&engine, &events) => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
                event = events.recv() => event,
                // Nothing is waiting, and after the stop nothing comes.
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
