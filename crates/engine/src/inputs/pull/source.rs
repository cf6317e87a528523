//! One connection that plays a stream.

use std::{io, net::SocketAddr};

use gostream_proto::rtmp::client::{Event, Intent, Step};

use super::super::drive::{Source, SourceEvent};
use crate::{
    limits::READ_BYTES,
    rtmp::{
        connect::{ConnectOptions, PERMISSION, RtmpClient},
        dial::Dialer,
        error::Failure,
        steps::Steps,
        transport::Exchanged,
    },
    spec::Target,
};

/// A server that was asked to play.
#[derive(Debug)]
pub(super) struct PullSource {
    client: RtmpClient,
}

impl PullSource {
    /// Connects and asks to play. Servers may answer only once the stream is published.
    pub(super) async fn open(dialer: &Dialer, target: &Target, identity: &str) -> Result<Self, Failure> {
        let flash_version = Some(identity.to_owned());
        let options = ConnectOptions {
            intent: Intent::Pull,
            enhanced: true,
            flash_version,
            read_bytes: READ_BYTES,
            permission: PERMISSION,
        };
        Ok(Self { client: RtmpClient::open(dialer, target, &options, &mut Steps::new()).await? })
    }

    /// The server's address.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.client.transport.peer()
    }

    /// The error for a broken connection.
    fn lost(&self) -> Failure {
        Failure::ConnectionLost { host: self.client.host.clone() }
    }
}

impl Source for PullSource {
    type Error = Failure;

    fn next(&mut self) -> Result<Option<SourceEvent>, Failure> {
        while let Some(event) = self.client.next_event()? {
            match event {
                Event::Media(media) => return Ok(Some(SourceEvent::Media(media))),
                Event::Ended => return Ok(Some(SourceEvent::Ended)),
                Event::Refused { code, .. } if code.ends_with("StreamNotFound") => return Ok(Some(SourceEvent::Ended)),
                Event::Refused { step, code, description } => {
                    return Err(Failure::from_refusal(step, code, description));
                }
                // The next connection starts at the saved address again and follows the redirect from there.
                Event::Redirect(_) | Event::ReconnectRequest(_) => return Err(Failure::Moved),
                Event::Connected | Event::StreamCreated | Event::Ready => {}
            }
        }
        Ok(None)
    }

    fn received_bytes(&self) -> u64 {
        self.client.session.received_bytes()
    }

    async fn exchange(&mut self) -> Result<(), Failure> {
        let exchanged = async {
            if let Exchanged::Wrote(_) = self.client.transport.exchange(self.client.session.outbox()).await? {
                self.client.flush_last().await?;
            }
            Ok::<_, io::Error>(())
        };
        exchanged.await.map_err(|_| match self.client.session.step() {
            // Some servers close when the stream is not published, some when playing is not allowed.
            Step::Start => Failure::KeyRejected { answer: Default::default() },
            _ => self.lost(),
        })
    }

    fn silent(&self) -> Failure {
        self.lost()
    }
}
