//! A sink: an output that only needs packets.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broadcast::{
    Broadcast,
    subscription::{Delivery, Subscription},
};

/// Reads one broadcast, on the thread of that broadcast.
pub(crate) trait Sink: Send + 'static {
    /// Reads until the broadcast ends or `stop` is cancelled, then completes its output.
    fn run(self, subscription: Subscription, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// Resolves when a sink has to end.
pub(crate) async fn stop_requested(broadcast: &Broadcast, stop: &CancellationToken) {
    tokio::select! {
        () = broadcast.ended() => {}
        () = stop.cancelled() => {}
    }
}

/// A running sink.
#[derive(Debug)]
pub(crate) struct RunningSink {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningSink {
    /// Starts `sink` on the current runtime. It is woken on ticks.
    pub(crate) fn start(sink: impl Sink, broadcast: &Arc<Broadcast>) -> Self {
        let stop = CancellationToken::new();
        let subscription = Subscription::new(broadcast, Delivery::Batched);
        let task = tokio::spawn(sink.run(subscription, stop.clone()));
        Self { stop, task }
    }

    /// Stops it and waits until its output is complete.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "An output failed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use gostream_proto::rtmp::media::{Media, MediaKind};
    use tokio::time::Instant;

    use super::*;
    use crate::{
        broadcast::subscription::Batch,
        events::EndReason,
        show::{tests::live, writer::Publisher},
    };

    /// The simplest output: counts packets.
    struct Counting(Arc<AtomicU64>);

    impl Sink for Counting {
        async fn run(self, mut subscription: Subscription, stop: CancellationToken) {
            let broadcast = Arc::clone(subscription.broadcast());
            let mut batch = Batch::default();
            loop {
                let is_over = tokio::select! {
                    () = subscription.changed() => false,
                    () = stop_requested(&broadcast, &stop) => true,
                };
                subscription.read(&mut batch, usize::MAX);
                self.0.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
                if is_over {
                    return;
                }
            }
        }
    }

    /// An AAC frame of silence; the first message of a track is its header.
    fn sound(number: u32) -> Media {
        let body: &[u8] =
            if number == 0 { &[0xAF, 0, 0x12, 0x10] } else { &[0xAF, 1, 0x21, 0x10, 0x04, 0x60, 0x8C, 0x1C] };
        Media { kind: MediaKind::Audio, timestamp: number * 23, body: body.to_vec().into() }
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_only_counts_reads_every_packet() {
        const FRAMES: u32 = 200;
        let live = live();
        let [stopped, ended] = [Arc::default(), Arc::<AtomicU64>::default()];
        let to_stop = RunningSink::start(Counting(Arc::clone(&stopped)), &live.broadcast);
        let to_end = RunningSink::start(Counting(Arc::clone(&ended)), &live.broadcast);
        let mut publisher = Publisher::new(Arc::clone(&live), live.take_seat());
        for number in 0..=FRAMES {
            publisher.push(sound(number), Instant::now());
            tokio::time::advance(std::time::Duration::from_millis(23)).await;
            publisher.flush(Instant::now());
        }
        to_stop.stop().await;
        assert_eq!(stopped.load(Ordering::Relaxed), u64::from(FRAMES));
        publisher.push(sound(FRAMES + 1), Instant::now());
        live.broadcast.end(EndReason::EncoderStopped);
        to_end.task.await.expect("ends by itself");
        assert_eq!(ended.load(Ordering::Relaxed), u64::from(FRAMES) + 1);
    }
}
