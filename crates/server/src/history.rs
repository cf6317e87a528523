//! The history writer: what the engine says becomes rows, in order.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use gostream_engine::engine::EngineEvent;
use gostream_store::{Error, Store, StreamStatus};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::reconcile::Wakes;

/// A database that restarts is back within this many seconds; events wait meanwhile.
const TRIES_MAX: u32 = 30;
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes events until the engine is gone, or until `stop`, after which it writes what is left and returns.
pub(crate) async fn write(
    store: Store,
    node: String,
    wakes: Arc<Wakes>,
    mut events: mpsc::Receiver<EngineEvent>,
    stop: CancellationToken,
) {
    let writer = Writer { store, node, stop: stop.clone() };
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            // Nothing is waiting, and after the stop nothing comes.
            () = stop.cancelled() => None,
        };
        match event {
            Some(event) => {
                // Rows that changed between the admission and the start were missed by everyone.
                if let EngineEvent::StreamStarted { project, .. } = &event {
                    wakes.wake(project.0);
                }
                writer.write_patiently(&event).await;
            }
            None => return,
        }
    }
}

struct Writer {
    store: Store,
    node: String,
    stop: CancellationToken,
}

impl Writer {
    async fn write_patiently(&self, event: &EngineEvent) {
        for _ in 0..TRIES_MAX {
            match self.write_once(event).await {
                Ok(()) => return,
                // The project was deleted, and its history with it.
                Err(Error::NotFound) => return,
                Err(error) => tracing::warn!(%error, "The history could not be written."),
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        tracing::error!(?event, "The history lost an event: the database stayed away.");
    }

    async fn write_once(&self, event: &EngineEvent) -> Result<(), Error> {
        match *event {
            EngineEvent::StreamStarted { project, stream, at } => {
                self.store.start_stream(stream.0, project.0, &self.node, wall(at)).await
            }
            EngineEvent::StreamPhase { stream, reconnecting, .. } => {
                let status = if reconnecting { StreamStatus::Reconnecting } else { StreamStatus::Live };
                self.store.set_stream_status(stream.0, status).await
            }
            EngineEvent::StreamEnded { stream, at, reason, .. } => {
                self.store.end_stream(stream.0, wall(at), reason.name()).await
            }
        }
    }
}

fn wall(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(at)
}
