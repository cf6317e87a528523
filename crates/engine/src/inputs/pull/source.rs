//! One connection that a stream is played from.

use std::{io, net::SocketAddr};

use gostream_proto::rtmp::client::{Event, Intent, Step};

use super::super::drive::{Source, SourceEvent};
use crate::{
    limits::READ_BYTES,
    rtmp::{
        connect::{Ask, Conversation},
        dial::Dialer,
        error::Failure,
        steps::Steps,
        wire::Exchanged,
    },
    spec::Target,
};

/// A server that was asked to play.
#[derive(Debug)]
pub(super) struct PullSource {
    line: Conversation,
}

impl PullSource {
    /// Connects and asks to play. Servers may answer only when somebody publishes.
    pub(super) async fn open(dialer: &Dialer, target: &Target, identity: &str) -> Result<Self, Failure> {
        let flash_version = Some(identity.to_owned());
        let ask = Ask { intent: Intent::Pull, enhanced: true, flash_version, read_bytes: READ_BYTES };
        Ok(Self { line: Conversation::open(dialer, target, &ask, &mut Steps::new()).await? })
    }

    /// The server's address.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.line.wire.peer()
    }

    /// The connection broke.
    fn lost(&self) -> Failure {
        Failure::ConnectionLost { host: self.line.host.clone() }
    }
}

impl Source for PullSource {
    type Error = Failure;

    fn next(&mut self) -> Result<Option<SourceEvent>, Failure> {
        while let Some(event) = self.line.next_event()? {
            match event {
                Event::Media(media) => return Ok(Some(SourceEvent::Media(media))),
                Event::Ended => return Ok(Some(SourceEvent::Ended)),
                Event::Refused { code, .. } if code.ends_with("StreamNotFound") => return Ok(Some(SourceEvent::Ended)),
                Event::Refused { step, code, description } => {
                    return Err(Failure::from_refusal(step, code, description));
                }
                // The next connection begins at the address that was saved, and is led on from there.
                Event::Redirect(_) | Event::ReconnectRequest(_) => return Err(Failure::Moved),
                Event::Connected | Event::StreamCreated | Event::Ready => {}
            }
        }
        Ok(None)
    }

    fn received_bytes(&self) -> u64 {
        self.line.client.received_bytes()
    }

    async fn exchange(&mut self) -> Result<(), Failure> {
        let exchanged = async {
            if let Exchanged::Wrote(_) = self.line.wire.exchange(self.line.client.outbox()).await? {
                self.line.flush_last().await?;
            }
            Ok::<_, io::Error>(())
        };
        exchanged.await.map_err(|_| match self.line.client.step() {
            // Some servers close where nobody publishes, some where nobody may play.
            Step::Start => Failure::KeyRejected { answer: Default::default() },
            _ => self.lost(),
        })
    }

    fn silent(&self) -> Failure {
        self.lost()
    }
}
