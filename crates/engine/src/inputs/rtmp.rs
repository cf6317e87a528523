//! A publisher: its media goes into the broadcast until it leaves, drops, falls silent, or another one takes over.

use std::sync::Arc;

use gostream_proto::rtmp::server::Event;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tracing::{debug, info};

use crate::{
    events::EndReason,
    patience::within,
    rtmp::connection::{Connection, Over},
    show::{
        live::{Live, Ticket},
        shared::Shared,
        writer::{Departure, Publisher},
    },
};

/// What makes an encoder show why not instead of only trying again.
pub(crate) const DENIED: &str = "NetStream.Publish.Denied";

/// Takes media until the publisher is done. `Ok` when it may publish again on the same connection.
pub(crate) async fn run<S>(
    connection: &mut Connection<S>,
    (live, ticket): (Arc<Live>, Ticket),
    shared: &Arc<Shared>,
) -> Result<(), Over>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let project = live.broadcast.project;
    let (leave, broadcast) = (ticket.leave.clone(), Arc::clone(&live.broadcast));
    let mut publisher = Publisher::new(live, ticket);
    connection.rtmp.accept_publish();
    info!(broadcast.stream = %publisher.stream(), "An encoder publishes.");
    let outcome = tokio::select! {
        biased;
        () = leave.cancelled() => {
            info!("Another encoder took over.");
            return Err(Over::Closed(std::io::ErrorKind::ConnectionAborted.into()));
        }
        () = broadcast.ended() => {
            debug!("The stream was ended.");
            return Err(Over::Closed(std::io::ErrorKind::ConnectionAborted.into()));
        }
        outcome = take_media(connection, &mut publisher, shared) => outcome,
    };
    match outcome {
        Ok(()) => {
            publisher.depart(Departure::Goodbye);
            connection.flush().await?;
            Ok(())
        }
        Err(Over::TooFast(excess)) => {
            let reason = EndReason::TooFast(excess);
            shared.resting.begin(project, Instant::now());
            broadcast.end(reason);
            connection.refuse(DENIED, &reason.advice().unwrap_or_default()).await
        }
        Err(error) => {
            info!(%error, "The encoder dropped.");
            publisher.depart(Departure::Dropped);
            Err(error)
        }
    }
}

async fn take_media<S>(connection: &mut Connection<S>, publisher: &mut Publisher, shared: &Shared) -> Result<(), Over>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut received_bytes = connection.rtmp.received_bytes();
    loop {
        let now = Instant::now();
        while let Some(event) = connection.next_event()? {
            match event {
                Event::Media(media) => {
                    if let Some(excess) = publisher.count_message(shared.limits.ingest(), now) {
                        return Err(Over::TooFast(excess));
                    }
                    publisher.push(media, now);
                }
                Event::Unpublish => return Ok(()),
                Event::Publish(_) | Event::Play(_) | Event::Stop => {}
            }
        }
        let before = std::mem::replace(&mut received_bytes, connection.rtmp.received_bytes());
        if let Some(excess) = publisher.count_bytes(shared.limits.ingest(), received_bytes - before, now) {
            return Err(Over::TooFast(excess));
        }
        let due = publisher.flush(Instant::now());
        connection.pace.set(publisher.pause());
        // Some encoders never read; what we have to say to them must not stop what they send.
        within(shared.limits.write, connection.flush()).await.map_err(|_| Over::Late("reading"))??;
        match due {
            // Time to wake the readers.
            Some(due) => timeout_at(due, connection.read()).await.unwrap_or(Ok(()))?,
            None => within(shared.limits.silence, connection.read()).await.map_err(|_| Over::Late("media"))??,
        }
    }
}
