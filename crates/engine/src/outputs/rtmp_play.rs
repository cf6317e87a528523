//! RTMP play: FFmpeg, VLC or another server pulls the live stream.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Buf;
use gostream_proto::rtmp::server::Event;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tracing::info;

use crate::{
    broadcast::{
        Broadcast,
        subscription::{Delivery, Subscription},
    },
    deadline::run_time,
    limits::{Limits, OUTBOX_BYTES, READ_BYTES},
    rtmp::{
        connection::{Connection, ConnectionError},
        feed::{Audience, Feed},
        origin::Origin,
    },
};

/// Time to send the end of the stream.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends the stream until it ends or the player leaves.
pub(crate) async fn run<S>(
    connection: &mut Connection<S>,
    broadcast: &Arc<Broadcast>,
    limits: &Limits,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut feed = Feed::new(Subscription::new(broadcast, Delivery::Immediate), Audience::Player, Origin::default());
    connection.rtmp.accept_play();
    info!("A player plays.");
    let mut late = pin!(run_time(limits.write));
    loop {
        if connection.rtmp.outbox().remaining() < OUTBOX_BYTES {
            if !connection.rtmp.outbox().has_remaining() {
                late.set(run_time(limits.write));
            }
            let Connection { rtmp, .. } = connection;
            feed.fill(OUTBOX_BYTES, |media| rtmp.send_media(media));
        }
        let waiting = connection.rtmp.outbox().remaining();
        connection.received.reserve(READ_BYTES);
        let Connection { reader, writer, received, rtmp, .. } = connection;
        tokio::select! {
            read = reader.read_buf(received) => {
                if read? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                while let Some(event) = connection.next_event()? {
                    if event == Event::Stop {
                        return Ok(());
                    }
                }
            }
            wrote = writer.write_buf(rtmp.outbox()), if waiting > 0 => {
                wrote?;
                late.set(run_time(limits.write));
                if !rtmp.outbox().has_remaining() {
                    writer.flush().await?;
                }
            }
            () = feed.changed(), if waiting < OUTBOX_BYTES => {}
            () = &mut late, if waiting > 0 => return Err(ConnectionError::Late("reading")),
            () = broadcast.ended() => {
                let Connection { rtmp, .. } = connection;
                feed.fill(usize::MAX, |media| rtmp.send_media(media));
                connection.rtmp.end_play();
                return timeout(END_TIMEOUT, connection.flush()).await.map_err(|_| ConnectionError::Late("reading"))?.map_err(ConnectionError::from);
            }
        }
    }
}
