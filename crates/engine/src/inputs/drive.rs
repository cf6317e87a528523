//! The one loop that every input goes through, from its first media in the seat until it leaves: how fast media may come, how
//! long it may be silent, who takes over, and the end of the stream by its owner.

use std::{sync::Arc, time::Duration};

use gostream_proto::rtmp::media::Media;
use tokio::time::{Instant, timeout_at};

use crate::{
    events::{EndReason, Excess},
    patience::Silence,
    show::{shared::Shared, writer::Publisher},
};

/// An input: it delivers media until it ends or is lost.
pub(crate) trait Source {
    /// Why it is lost.
    type Error;

    /// What is in the bytes that were read; `None` when more have to come.
    fn next(&mut self) -> Result<Option<SourceEvent>, Self::Error>;

    /// Bytes read so far, of media or not.
    fn received_bytes(&self) -> u64;

    /// Reads something, and sends what has to be sent. Cancel safe.
    async fn exchange(&mut self) -> Result<(), Self::Error>;

    /// What a source that sends nothing any more is lost by.
    fn silent(&self) -> Self::Error;

    /// For how long packets are collected before readers are woken for them: it need not be read more often.
    fn set_pause(&mut self, _pause: Duration) {}

    /// Whether it is read on ticks and at no other time, so that readers are woken for all that was read.
    fn is_read_on_ticks(&self) -> bool {
        false
    }
}

/// What a source delivers.
#[derive(Debug)]
pub(crate) enum SourceEvent {
    /// A message of the stream.
    Media(Media),
    /// The source says that the stream is over.
    Ended,
}

/// Why no more is taken from a source. The publisher has not left yet.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    /// The source says that the stream is over.
    Ended,
    /// The source is lost.
    Lost(E),
    /// Another publisher has the seat.
    TakenOver,
    /// The broadcast is over: its owner, or the server, ended it.
    BroadcastEnded,
    /// More came than may; the broadcast was ended, and the key rests.
    TooFast(EndReason),
}

/// Writes what the source delivers until there is no more of it. Cancel safe.
pub(crate) async fn drive<S: Source>(source: &mut S, publisher: &mut Publisher, shared: &Shared) -> Stop<S::Error> {
    let (leave, broadcast) = (publisher.leave().clone(), Arc::clone(publisher.broadcast()));
    tokio::select! {
        biased;
        () = leave.cancelled() => Stop::TakenOver,
        () = broadcast.ended() => Stop::BroadcastEnded,
        stop = take_media(source, publisher, shared) => stop,
    }
}

async fn take_media<S: Source>(source: &mut S, publisher: &mut Publisher, shared: &Shared) -> Stop<S::Error> {
    let mut received_bytes = source.received_bytes();
    let mut silence = Silence::new(shared.limits.silence);
    loop {
        if let Some(stop) = take_received(source, publisher, shared, &mut received_bytes) {
            return stop;
        }
        let now = Instant::now();
        let due = if source.is_read_on_ticks() { publisher.flush_at_once(now) } else { publisher.flush(now) };
        source.set_pause(publisher.pause());
        let exchanged = match due {
            // Time to wake the readers.
            Some(due) => timeout_at(due, source.exchange()).await.unwrap_or(Ok(())),
            None => tokio::select! {
                biased;
                exchanged = source.exchange() => exchanged,
                () = silence.is_long() => Err(source.silent()),
            },
        };
        match exchanged {
            Ok(()) => silence.heard(),
            Err(error) => return Stop::Lost(error),
        }
    }
}

/// Writes all that was received, and says if nothing may follow.
fn take_received<S: Source>(
    source: &mut S,
    publisher: &mut Publisher,
    shared: &Shared,
    received_bytes: &mut u64,
) -> Option<Stop<S::Error>> {
    let (now, allowed) = (Instant::now(), shared.limits.ingest());
    loop {
        match source.next() {
            Ok(Some(SourceEvent::Media(media))) => {
                if let Some(excess) = publisher.count_message(allowed, now) {
                    return Some(too_fast(excess, publisher, shared));
                }
                publisher.push(media, now);
            }
            Ok(Some(SourceEvent::Ended)) => return Some(Stop::Ended),
            Ok(None) => break,
            Err(error) => return Some(Stop::Lost(error)),
        }
    }
    let before = std::mem::replace(received_bytes, source.received_bytes());
    let excess = publisher.count_bytes(allowed, *received_bytes - before, now)?;
    Some(too_fast(excess, publisher, shared))
}

fn too_fast<E>(excess: Excess, publisher: &Publisher, shared: &Shared) -> Stop<E> {
    let (broadcast, reason) = (publisher.broadcast(), EndReason::TooFast(excess));
    shared.resting.begin(broadcast.project, Instant::now());
    broadcast.end(reason);
    Stop::TooFast(reason)
}
