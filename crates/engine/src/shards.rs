//! The threads of the data plane. Each has its own runtime, and everything of a broadcast (publisher, relays, HLS) runs
//! on the thread that its encoder's connection was assigned to. So a packet wakes only tasks of the same thread; waking
//! another thread costs more than the packet itself on a busy machine. Connections are assigned to the threads in turn.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::ticks;

/// The running threads.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    handles: Vec<Handle>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    next: AtomicUsize,
    stop: CancellationToken,
}

impl Shards {
    /// Starts `count` threads; with 0, everything runs on the caller's runtime.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut shards = Self::default();
        for n in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            shards.handles.push(runtime.handle().clone());
            let stop = shards.stop.clone();
            let thread = thread::Builder::new().name(format!("media-{n}")).spawn(move || {
                ticks::own_thread();
                runtime.block_on(stop.cancelled());
                // Does not wait for a name that is still being resolved.
                runtime.shutdown_background();
            })?;
            shards.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(shards)
    }

    /// The thread whose turn it is; `None` when everything runs on the caller's runtime.
    pub(crate) fn next(&self) -> Option<&Handle> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles.get(turn.checked_rem(self.handles.len())?)
    }

    /// Ends the threads and everything that runs on them.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("A thread of the data plane failed.");
            }
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
