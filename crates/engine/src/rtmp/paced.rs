//! An encoder's socket that is read at intervals while no reader needs low latency. Between reads the kernel collects
//! bytes and the thread sleeps: waking for each packet would be most of the cost of an incoming stream.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use gostream_tcp::{TcpInfo, receive_now, set_receive_low_water, tcp_info};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::ticks::{TICK, Ticks, next_wake};

/// This many received bytes, a tick of 9 Mbit/s, wake the reader early. Less than the initial receive window of Linux,
/// so that no encoder has to wait for the window.
const LOW_WATER_BYTES: u32 = 48 * 1024;
/// How long before the end of an interval an encoder that waits for acknowledgements is read early: acknowledged then,
/// it can still send the rest in time. Timers are a millisecond late, and more on a busy machine.
const EARLY_READ: Duration = Duration::from_millis(5);
/// An encoder with a round-trip time up to this sends its next bytes immediately after an acknowledgement.
const NEAR: Duration = Duration::from_micros(100);
/// Shorter intervals are not worth the timers.
const PAUSE_MIN: Duration = Duration::from_millis(16);

/// Estimates whether an encoder waits for acknowledgements, as those with Nagle's algorithm do (RFC 9293 section
/// 3.7.4): it sends right after a read, and then nothing until the next. All others have sent something within the last
/// few milliseconds at any time.
#[derive(Clone, Copy, Debug)]
struct AckWait {
    /// Average time without received bytes before the first read of an interval, in microseconds.
    silence_us: u32,
    /// Minimum round-trip time to the encoder.
    rtt: Duration,
}

impl AckWait {
    /// Encoders send pictures and audio about every ten milliseconds; a longer silence suggests waiting.
    const LIKELY_US: u32 = 16_000;
    /// Longer silences are the encoder's own and count as this.
    const MAX_US: u32 = 40_000;

    fn note(&mut self, info: TcpInfo) {
        let silence_us = u32::try_from(info.since_received.as_micros()).unwrap_or(u32::MAX).min(Self::MAX_US);
        self.silence_us = (self.silence_us * 7 + silence_us) / 8;
        self.rtt = info.min_rtt;
    }

    fn is_likely(self) -> bool {
        self.silence_us >= Self::LIKELY_US
    }
}

impl Default for AckWait {
    /// Assumes a distant encoder that waits, until measured.
    fn default() -> Self {
        Self { silence_us: Self::MAX_US, rtt: Duration::MAX }
    }
}

/// The time of the next read.
#[derive(Debug)]
enum NextRead {
    /// With the ticks of the thread.
    OnTicks(Ticks),
    /// At a time of its own.
    At(Pin<Box<Sleep>>),
}

impl NextRead {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::OnTicks(ticks) => ticks.poll_next(cx),
            Self::At(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

/// How often the socket is read. Shared by the socket and the publisher, which knows how fast readers need packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadInterval(Arc<ReadIntervalState>);

#[derive(Debug, Default)]
struct ReadIntervalState {
    pause_us: AtomicU64,
    /// Whether the socket is also read before the end of an interval.
    is_early: AtomicBool,
}

impl ReadInterval {
    /// Sets the interval. Below [`PAUSE_MIN`] the socket is read as soon as bytes arrive.
    pub(crate) fn set(&self, pause: Duration) {
        let pause = if pause < PAUSE_MIN { Duration::ZERO } else { pause };
        self.0.pause_us.store(pause.as_micros() as u64, Ordering::Relaxed);
    }

    /// Whether the socket is read on ticks and at no other time.
    pub(crate) fn is_on_ticks(&self) -> bool {
        self.get() == TICK && !self.0.is_early.load(Ordering::Relaxed)
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.pause_us.load(Ordering::Relaxed))
    }
}

/// A TCP connection that is read at a [`ReadInterval`].
#[derive(Debug)]
pub(crate) struct PacedStream {
    stream: TcpStream,
    read_interval: ReadInterval,
    /// The interval that the socket is configured for.
    pause: Duration,
    next_read: NextRead,
    ack_wait: AckWait,
    near: Duration,
    /// Whether the next read is the first of its interval.
    is_first_read: bool,
    /// Whether there may be more bytes to read now.
    may_have_more: bool,
}

impl PacedStream {
    /// Reads as soon as bytes arrive, until `read_interval` is set.
    pub(crate) fn new(stream: TcpStream, read_interval: ReadInterval) -> Self {
        let next_read = NextRead::At(Box::pin(sleep_until(Instant::now())));
        let (ack_wait, is_first_read, may_have_more) = (AckWait::default(), true, false);
        Self {
            stream,
            read_interval,
            pause: Duration::ZERO,
            next_read,
            ack_wait,
            near: NEAR,
            is_first_read,
            may_have_more,
        }
    }

    /// Applies a change of the interval. Where the kernel cannot collect bytes, reads stay immediate.
    fn follow(&mut self) {
        let pause = self.read_interval.get();
        if pause == self.pause {
            return;
        }
        let low_water = if pause.is_zero() { 1 } else { LOW_WATER_BYTES };
        if set_receive_low_water(&self.stream, low_water).is_ok() {
            self.pause = pause;
            self.plan_read();
        } else {
            self.read_interval.set(Duration::ZERO);
        }
    }

    fn plan_read(&mut self) {
        if self.pause.is_zero() {
            return;
        }
        let is_early = self.ack_wait.is_likely() && self.ack_wait.rtt > self.near;
        self.read_interval.0.is_early.store(is_early, Ordering::Relaxed);
        if self.pause == TICK && !is_early {
            self.is_first_read = true;
            if !matches!(self.next_read, NextRead::OnTicks(_)) {
                self.next_read = NextRead::OnTicks(Ticks::new());
            }
            return;
        }
        let now = Instant::now();
        let due = next_wake(now, self.pause);
        self.is_first_read = !is_early || due - now > EARLY_READ;
        let next_read = if is_early && self.is_first_read { due - EARLY_READ } else { due };
        match &mut self.next_read {
            NextRead::At(sleep) => sleep.as_mut().reset(next_read),
            NextRead::OnTicks(_) => self.next_read = NextRead::At(Box::pin(sleep_until(next_read))),
        }
    }

    /// Measures the time without received bytes.
    fn note_silence(&mut self) {
        if self.is_first_read
            && let Ok(info) = tcp_info(&self.stream)
        {
            self.ack_wait.note(info);
        }
    }

    /// Reads what the kernel has now; `None` if that is nothing. Does not register with the runtime.
    fn read_now(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        match receive_now(&self.stream, buffer) {
            Ok(_) => Some(Ok(())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Sends the acknowledgement immediately; an encoder with Nagle's algorithm waits for it.
    fn acknowledge(&self) {
        let _ = SockRef::from(&self.stream).set_tcp_quickack(true);
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        paced.follow();
        while !paced.pause.is_zero() {
            let is_due = paced.next_read.poll(cx).is_ready();
            if is_due {
                paced.note_silence();
                paced.plan_read();
            } else if !std::mem::take(&mut paced.may_have_more) {
                break;
            }
            if let Some(read) = paced.read_now(buffer) {
                // A near encoder that waits sends more immediately.
                paced.may_have_more = paced.ack_wait.is_likely() || buffer.remaining() == 0;
                if paced.ack_wait.is_likely() {
                    paced.acknowledge();
                }
                return Poll::Ready(read);
            }
        }
        // Enough bytes, the end of the stream, or no interval.
        let read = Pin::new(&mut paced.stream).poll_read(cx, buffer);
        if read.is_ready() && !paced.pause.is_zero() && paced.ack_wait.is_likely() {
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
