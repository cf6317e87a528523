//! The classic HLS output of one broadcast: a reader like any other, that cuts what it reads into segments.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use gostream_proto::{
    hls::{Segmenter, Window},
    time::Timestamp,
};

use crate::broadcast::{Broadcast, subscription::Batch};

/// Read at once; all that is there.
const READ_BYTES: usize = usize::MAX;

/// The newest segments, from memory.
#[derive(Debug, Default)]
pub struct Output {
    window: Mutex<Window>,
}

impl Output {
    /// The media playlist with segments named `{prefix}-{n}.ts`; `None` before the first segment.
    pub fn playlist(&self, prefix: &str) -> Option<Bytes> {
        self.window().playlist(prefix).map(Bytes::from)
    }

    /// Whether there is a playlist.
    pub fn is_ready(&self) -> bool {
        !self.window().is_empty()
    }

    /// Segment `n` as MPEG-TS, made when first asked for.
    pub fn segment(&self, n: u64) -> Option<Bytes> {
        let segment = self.window().segment(n)?;
        Some(segment.ts())
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a broadcast into segments until it ends.
pub(crate) async fn run(output: Arc<Output>, broadcast: Arc<Broadcast>) {
    let mut subscription = broadcast.subscribe();
    let mut segmenter = Segmenter::default();
    let mut batch = Batch::default();
    let mut newest = Timestamp::ZERO;
    loop {
        subscription.read(&mut batch, READ_BYTES);
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let headers = batch.headers.iter().flat_map(|headers| headers.iter());
        for entry in headers.chain(&batch.entries) {
            if let Some(segment) = segmenter.push(&entry.packet, wall_ms) {
                output.window().push(segment);
            }
            newest = newest.max(entry.packet.dts);
        }
        tokio::select! {
            () = subscription.changed() => {}
            () = broadcast.ended() => break,
        }
    }
    if let Some(segment) = segmenter.finish(newest) {
        output.window().push(segment);
    }
    output.window().end();
}
