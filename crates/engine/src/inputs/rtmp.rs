//! An encoder that publishes by RTMP.

use std::{sync::Arc, time::Duration};

use bytes::Buf as _;
use gostream_proto::rtmp::server::Event;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info};

use super::drive::{Source, SourceEvent, Stop, drive};
use crate::{
    limits::OUTBOX_BYTES,
    rtmp::connection::{Connection, ConnectionError},
    show::{
        live::{LiveProject, Ticket},
        shared::Shared,
        writer::{Departure, Publisher},
    },
};

/// With this status code, OBS shows the reason instead of only retrying.
pub(crate) const DENIED: &str = "NetStream.Publish.Denied";

/// Takes media until the publisher is done. `Ok` when it may publish again on the same connection.
pub(crate) async fn run<S>(
    connection: &mut Connection<S>,
    (live, ticket): (Arc<LiveProject>, Ticket),
    shared: &Shared,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut publisher = Publisher::new(live, ticket);
    connection.rtmp.accept_publish();
    info!(broadcast.stream = %publisher.stream(), "An encoder started to publish.");
    match drive(connection, &mut publisher, shared).await {
        Stop::Ended => {
            publisher.depart(Departure::Goodbye);
            connection.flush().await?;
            Ok(())
        }
        Stop::Lost(error) => {
            info!(%error, "The encoder dropped.");
            publisher.depart(Departure::Dropped);
            Err(error)
        }
        Stop::TakenOver => {
            info!("Another encoder took over.");
            Err(ConnectionError::Closed(std::io::ErrorKind::ConnectionAborted.into()))
        }
        Stop::BroadcastEnded => {
            debug!("The stream was ended.");
            Err(ConnectionError::Closed(std::io::ErrorKind::ConnectionAborted.into()))
        }
        Stop::TooFast(reason) => connection.refuse(DENIED, &reason.advice().unwrap_or_default()).await,
    }
}

impl<S> Source for Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    type Error = ConnectionError;

    fn next(&mut self) -> Result<Option<SourceEvent>, ConnectionError> {
        while let Some(event) = self.next_event()? {
            match event {
                Event::Media(media) => return Ok(Some(SourceEvent::Media(media))),
                Event::Unpublish => return Ok(Some(SourceEvent::Ended)),
                Event::Publish(_) | Event::Play(_) | Event::Stop => {}
            }
        }
        Ok(None)
    }

    fn received_bytes(&self) -> u64 {
        self.rtmp.received_bytes()
    }

    /// Some encoders never read. What we send to them must not block what they send.
    async fn exchange(&mut self) -> Result<(), ConnectionError> {
        if !self.rtmp.outbox().has_remaining() {
            return Ok(self.read().await?);
        }
        if self.rtmp.outbox().remaining() > OUTBOX_BYTES {
            return Err(ConnectionError::Late("reading"));
        }
        Ok(self.read_or_write().await?)
    }

    fn silent(&self) -> ConnectionError {
        ConnectionError::Late("media")
    }

    fn set_pause(&mut self, pause: Duration) {
        self.read_interval.set(pause);
    }

    fn is_read_on_ticks(&self) -> bool {
        self.read_interval.is_on_ticks()
    }
}
