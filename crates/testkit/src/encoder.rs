//! A test encoder: publishes given messages, and can disconnect in every way that encoders do.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use gostream_proto::rtmp::{
    chunk::SharedChunks,
    client::{ClientSession, DEFAULT_CHUNK_BYTES, Event, Intent, Request},
    command::set_data_frame,
    media::{Media, MediaKind, MediaOut},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// A connected encoder.
#[derive(Debug)]
pub struct Encoder {
    stream: TcpStream,
    session: ClientSession,
    received: BytesMut,
}

impl Encoder {
    /// Publishes to `rtmp://address/live` with that key. An error contains the server's code.
    pub async fn publish(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        Self::connect(TcpStream::connect(address).await?, key, Intent::Push).await
    }

    /// The same over an open connection.
    pub async fn publish_over(stream: TcpStream, key: &str) -> anyhow::Result<Self> {
        Self::connect(stream, key, Intent::Push).await
    }

    /// Plays `rtmp://address/live/key`.
    pub async fn play(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        Self::connect(TcpStream::connect(address).await?, key, Intent::Pull).await
    }

    async fn connect(stream: TcpStream, key: &str, intent: Intent) -> anyhow::Result<Self> {
        let address = stream.peer_addr()?;
        let request = Request {
            intent,
            app: "live".to_owned(),
            tc_url: format!("rtmp://{address}/live"),
            name: key.to_owned(),
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            enhanced: false,
            flash_version: None,
        };
        let session = ClientSession::new(request, [0x47; 1_528]);
        let mut encoder = Self { stream, session, received: BytesMut::new() };
        loop {
            match encoder.event().await? {
                Event::Ready => return Ok(encoder),
                Event::Refused { code, .. } => bail!(code),
                _ => {}
            }
        }
    }

    /// The next event from the server.
    pub async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            let event = self.session.next_event(&mut self.received)?;
            if let Some(event) = event {
                return Ok(event);
            }
            self.flush().await?;
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            if read.context("the server says nothing")?? == 0 {
                bail!("closed");
            }
        }
    }

    /// The next media message of a played stream.
    pub async fn media(&mut self) -> anyhow::Result<Media> {
        loop {
            match self.event().await? {
                Event::Media(media) => return Ok(media),
                Event::Ended => bail!("ended"),
                _ => {}
            }
        }
    }

    /// Sends one message.
    pub async fn send(&mut self, media: &Media) -> anyhow::Result<()> {
        self.queue(media);
        self.flush().await
    }

    /// Sends all messages as fast as the server reads them.
    pub async fn send_all(&mut self, media: &[Media]) -> anyhow::Result<()> {
        for media in media {
            self.send(media).await?;
        }
        Ok(())
    }

    /// Sends the messages by their timestamps, at `speed` times real time.
    pub async fn send_paced(&mut self, media: &[Media], speed: f64) -> anyhow::Result<()> {
        let (started, first) = (tokio::time::Instant::now(), media.first().map_or(0, |media| media.timestamp));
        for media in media {
            let due = Duration::from_secs_f64(f64::from(media.timestamp.wrapping_sub(first)) / 1_000.0 / speed);
            tokio::time::sleep_until(started + due).await;
            self.send(media).await?;
        }
        Ok(())
    }

    /// Reads what the server sent, without waiting, and answers its pings. For tests that send for a long time.
    pub async fn read_replies(&mut self) -> anyhow::Result<()> {
        loop {
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => bail!("closed"),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            while let Some(event) = self.session.next_event(&mut self.received)? {
                if let Event::Refused { code, .. } = event {
                    bail!(code);
                }
            }
        }
        self.flush().await
    }

    /// The connection, for a test that reads its bytes itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Queues `onMetaData` in `@setDataFrame`, and everything else unchanged.
    fn queue(&mut self, media: &Media) {
        let payload = match media.kind {
            MediaKind::Metadata => set_data_frame(&media.body),
            _ => media.body.clone(),
        };
        let (kind, timestamp) = (media.kind, media.timestamp);
        self.session
            .send_media(&MediaOut { kind, timestamp, payload: &payload, chunks: &SharedChunks::default() });
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        while self.session.outbox().has_remaining() {
            let wrote = timeout(PATIENCE, self.stream.write_buf(self.session.outbox())).await;
            if wrote.context("the server takes nothing")?? == 0 {
                bail!("closed");
            }
        }
        Ok(())
    }

    /// Unpublishes (`FCUnpublish`, `deleteStream`) and closes, as OBS does.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.session.finish();
        self.flush().await?;
        self.close().await
    }

    /// Closes without an unpublish. Pending server data is read first: closing with unread bytes would reset the
    /// connection and lose data in transit.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.stream.shutdown().await?;
        self.closed().await
    }

    /// Resets the connection, as after a crash or a network failure.
    pub fn reset(self) -> anyhow::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    /// Waits until the server closes.
    pub async fn closed(&mut self) -> anyhow::Result<()> {
        let mut sink = [0; 4_096];
        let drained = async { while !matches!(self.stream.read(&mut sink).await, Ok(0) | Err(_)) {} };
        timeout(PATIENCE, drained).await.context("the server does not close")
    }
}
