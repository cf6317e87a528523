//! An encoder's socket that is read at set times while nobody needs its packets sooner. Between them the kernel collects, and
//! the thread sleeps: being woken for each packet is most of what taking a stream in costs.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use gostream_tcp::{receive_now, set_receive_low_water};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::broadcast::wake_schedule::next_wake;

/// So much wakes the reader before its time, 44 ms of 9 Mbit/s: less than the window that Linux opens to a new connection, so
/// that no encoder has to wait for it.
const LOW_WATER_BYTES: u32 = 48 * 1024;
/// A first look, so long before the time. Encoders that use Nagle's algorithm keep packets back until the last one was
/// acknowledged, which looking does: those packets come while there is still time. Timers are late by a millisecond, and on
/// a busy machine by some more.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// Shorter pauses are not worth the timers.
const PAUSE_MIN: Duration = Duration::from_millis(16);

/// How often the socket is read; held by whoever knows who waits for the packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<AtomicU64>);

impl Pace {
    /// Read with such pauses; short ones mean as soon as something comes.
    pub(crate) fn set(&self, pause: Duration) {
        let pause = if pause < PAUSE_MIN { Duration::ZERO } else { pause };
        self.0.store(pause.as_micros() as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A TCP connection that is read at a [`Pace`].
#[derive(Debug)]
pub(crate) struct PacedStream {
    stream: TcpStream,
    pace: Pace,
    /// The pause that the socket is set up for.
    pause: Duration,
    look: Pin<Box<Sleep>>,
    /// A look found something: acknowledged, it may have brought more at once where the encoder is near.
    may_have_more: bool,
}

impl PacedStream {
    /// Reads as soon as something comes, until `pace` says otherwise.
    pub(crate) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, pace, pause: Duration::ZERO, look: Box::pin(sleep_until(Instant::now())), may_have_more: false }
    }

    /// Follows a change of the pace. Where the kernel cannot collect, reading goes on as before.
    fn follow(&mut self) {
        let pause = self.pace.get();
        if pause == self.pause {
            return;
        }
        let low_water = if pause.is_zero() { 1 } else { LOW_WATER_BYTES };
        if set_receive_low_water(&self.stream, low_water).is_ok() {
            self.pause = pause;
            self.plan_look();
        } else {
            self.pace.set(Duration::ZERO);
        }
    }

    fn plan_look(&mut self) {
        if self.pause.is_zero() {
            return;
        }
        let now = Instant::now();
        let tick = next_wake(now, self.pause);
        let look = if tick - now > FIRST_LOOK { tick - FIRST_LOOK } else { tick };
        self.look.as_mut().reset(look);
    }

    /// What the kernel has now; `None` when that is nothing. The runtime was not told of it, and need not be.
    fn read_now(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        match receive_now(&self.stream, buffer) {
            Ok(_) => Some(Ok(())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Acknowledges what was read at once: an encoder with Nagle's algorithm waits for it with whatever it has next.
    fn acknowledge(&self) {
        let _ = SockRef::from(&self.stream).set_tcp_quickack(true);
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        paced.follow();
        while !paced.pause.is_zero() {
            let is_due = paced.look.as_mut().poll(cx).is_ready();
            if is_due {
                paced.plan_look();
            } else if !std::mem::take(&mut paced.may_have_more) {
                break;
            }
            if let Some(read) = paced.read_now(buffer) {
                paced.may_have_more = true;
                paced.acknowledge();
                return Poll::Ready(read);
            }
        }
        // Much at once, the end, or no pauses.
        let read = Pin::new(&mut paced.stream).poll_read(cx, buffer);
        if read.is_ready() && !paced.pause.is_zero() {
            paced.acknowledge();
        }
        read
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
