//! The link between servers on one PostgreSQL: it notifies other servers of changes here, and wakes this one after
//! changes there. Polling finds the same changes; the link only makes them arrive sooner.

use std::{sync::Arc, time::Duration};

use gostream_engine::Engine;
use gostream_store::{Listener, ListenerEvent, Notification, Notifier};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::wakes::Wakes;

/// How long the database may take for a notification. Polling finds the changes of a lost one.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// This server's end of the link.
#[derive(Debug)]
pub(crate) struct Link {
    notifier: Notifier,
    listener: Listener,
    wakes: Arc<Wakes>,
    engine: Engine,
}

impl Link {
    pub(crate) fn new((notifier, listener): (Notifier, Listener), wakes: Arc<Wakes>, engine: Engine) -> Self {
        Self { notifier, listener, wakes, engine }
    }

    /// Sends and receives notifications until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { notifier, mut listener, wakes, engine } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = send(&notifier, &wakes) => {}
            () = async {
                loop {
                    apply(listener.next().await, &wakes, &engine);
                }
            } => {}
        }
    }
}

/// Sends the notifications of this server. Those that arrive during a send are sent together afterwards.
async fn send(notifier: &Notifier, wakes: &Wakes) {
    let mut was_failing = false;
    loop {
        let notifications = wakes.outgoing().await;
        let sent = timeout(SEND_TIMEOUT, notifier.notify(notifications)).await;
        match &sent {
            Ok(Err(error)) if !was_failing => tracing::warn!(%error, "Other servers cannot be notified of changes."),
            Err(_) if !was_failing => tracing::warn!("Other servers cannot be notified of changes in time."),
            _ => {}
        }
        was_failing = !matches!(sent, Ok(Ok(())));
    }
}

fn apply(event: ListenerEvent, wakes: &Wakes, engine: &Engine) {
    match event {
        ListenerEvent::Notification(Notification::Project(project)) => wakes.wake_here(project),
        ListenerEvent::Notification(Notification::History(project)) => wakes.view_changed(project),
        ListenerEvent::Notification(Notification::Sessions) => wakes.sessions_ended_elsewhere(),
        ListenerEvent::Notification(Notification::Commands) => wakes.commands_came(),
        // Notifications may have been lost while the listener was not connected.
        ListenerEvent::Listening => {
            engine.live().into_iter().for_each(|project| wakes.wake_here(project.0));
            wakes.sessions_ended_elsewhere();
            wakes.commands_came();
        }
    }
}
