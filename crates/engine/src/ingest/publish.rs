//! A publisher: its media goes into the broadcast until it leaves, drops, falls silent, or another one takes over.

use std::sync::Arc;

use gostream_proto::rtmp::server::Event;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info};

use super::session::{Connection, Over};
use crate::{
    broadcast::publisher::{Departure, Publisher},
    engine::Shared,
    limits::READ_BYTES,
    spec::ProjectSpec,
};

/// Takes media until the publisher is done. `Ok` when it may publish again on the same connection.
pub(crate) async fn run<S>(connection: &mut Connection<S>, spec: ProjectSpec, shared: &Arc<Shared>) -> Result<(), Over>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (live, ticket) = shared.open(spec).await;
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
    let mut read = 0;
    loop {
        while let Some(event) = connection.next_event()? {
            match event {
                Event::Media(media) => publisher.push(media),
                Event::Unpublish => return Ok(()),
                Event::Publish(_) | Event::Play(_) | Event::Stop => {}
            }
        }
        publisher.flush();
        // Some encoders never read; what we have to say to them must not stop what they send.
        timeout(shared.limits.write, connection.flush()).await.map_err(|_| Over::Late("reading"))??;
        let rest_until = publisher.rest_until();
        // What fills the buffer has more behind it.
        if read < READ_BYTES && rest_until > Instant::now() {
            sleep_until(rest_until).await;
        }
        read = timeout(shared.limits.silence, connection.read()).await.map_err(|_| Over::Late("media"))??;
    }
}
