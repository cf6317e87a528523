//! The loop that every input runs through, from its first media in the seat until it leaves. It enforces rates and
//! silence limits, and handles takeovers and the end of the broadcast.

use std::{sync::Arc, time::Duration};

use gostream_proto::rtmp::media::Media;
use tokio::time::{Instant, timeout_at};

use crate::{
    deadline::Silence,
    events::{EndReason, Excess},
    show::{shared::Shared, writer::Publisher},
};

/// An input that delivers media until it ends or is lost.
pub(crate) trait Source {
    /// Why the source was lost.
    type Error;

    /// The next event from the bytes read so far; `None` when more bytes are needed.
    fn next(&mut self) -> Result<Option<SourceEvent>, Self::Error>;

    /// Bytes read so far, media or not.
    fn received_bytes(&self) -> u64;

    /// Reads some bytes, and sends what is pending. Cancel safe.
    async fn exchange(&mut self) -> Result<(), Self::Error>;

    /// The error for a source that has been silent for too long.
    fn silent(&self) -> Self::Error;

    /// Sets how long packets are collected before readers are woken; the source need not be read more often.
    fn set_pause(&mut self, _pause: Duration) {}

    /// Whether it is read on ticks only. Then readers are woken after each read.
    fn is_read_on_ticks(&self) -> bool {
        false
    }
}

/// An event of a source.
#[derive(Debug)]
pub(crate) enum SourceEvent {
    /// A message of the stream.
    Media(Media),
    /// The source ended the stream.
    Ended,
}

/// Why reading from a source stopped. The publisher has not left the seat yet.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    /// The source ended the stream.
    Ended,
    /// The source is lost.
    Lost(E),
    /// Another publisher has the seat.
    TakenOver,
    /// The broadcast ended: by its owner, or the server stops.
    BroadcastEnded,
    /// The stream exceeded an ingest limit. The broadcast was ended, and the cooldown of its key began.
    TooFast(EndReason),
}

/// Writes media from the source into the broadcast until it stops. Cancel safe.
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
            // Readers have to be woken now.
            Some(due) => timeout_at(due, source.exchange()).await.unwrap_or(Ok(())),
            None => tokio::select! {
                biased;
                exchanged = source.exchange() => exchanged,
                () = silence.elapsed() => Err(source.silent()),
            },
        };
        match exchanged {
            Ok(()) => silence.reset(),
            Err(error) => return Stop::Lost(error),
        }
    }
}

/// Writes all received media; returns a reason if reading has to stop.
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
    shared.cooldown.begin(broadcast.project, Instant::now());
    broadcast.end(reason);
    Stop::TooFast(reason)
}
