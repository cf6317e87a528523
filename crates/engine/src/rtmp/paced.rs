//! An encoder's socket that is read at set times while nobody needs its packets sooner. Between them the kernel collects, and
//! the thread sleeps: being woken for each packet is most of what taking a stream in costs.

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

/// So much wakes the reader before its time, a tick of 9 Mbit/s: less than the window that Linux opens to a new connection, so
/// that no encoder has to wait for it.
const LOW_WATER_BYTES: u32 = 48 * 1024;
/// A look so long before the time, at encoders that wait for one: acknowledged, they send while there is still time. Timers are late by a
/// millisecond, and on a busy machine by some more.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// What an encoder this near sends when it is acknowledged is there at once.
const NEAR: Duration = Duration::from_micros(100);
/// Shorter pauses are not worth the timers.
const PAUSE_MIN: Duration = Duration::from_millis(16);

/// Whether an encoder waits until what it sent was acknowledged, as those with Nagle's algorithm do (RFC 9293, section 3.7.4): it sends
/// right after a look, and then nothing until the next. All others have sent something in the last few milliseconds, whenever one looks.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// For how long nothing had come at the first look of a pause, on average, in microseconds.
    silence_us: u32,
    /// The way to the encoder and back.
    rtt: Duration,
}

impl Waits {
    /// Pictures and sound leave an encoder every ten milliseconds.
    const LIKELY_US: u32 = 16_000;
    /// Longer silences are the encoder's own.
    const MAX_US: u32 = 40_000;

    fn note(&mut self, info: TcpInfo) {
        let silence_us = u32::try_from(info.since_received.as_micros()).unwrap_or(u32::MAX).min(Self::MAX_US);
        self.silence_us = (self.silence_us * 7 + silence_us) / 8;
        self.rtt = info.min_rtt;
    }

    fn are_likely(self) -> bool {
        self.silence_us >= Self::LIKELY_US
    }
}

impl Default for Waits {
    /// As if it were so, and far away, until it is seen.
    fn default() -> Self {
        Self { silence_us: Self::MAX_US, rtt: Duration::MAX }
    }
}

/// When to look.
#[derive(Debug)]
enum Look {
    /// With all that the thread does.
    OnTicks(Ticks),
    /// Then.
    At(Pin<Box<Sleep>>),
}

impl Look {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::OnTicks(ticks) => ticks.poll_next(cx),
            Self::At(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

/// How often the socket is read: shared by the socket and by what knows who waits for the packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<PaceState>);

#[derive(Debug, Default)]
struct PaceState {
    pause_us: AtomicU64,
    /// It is read before the end of a pause as well.
    is_early: AtomicBool,
}

impl Pace {
    /// Read with such pauses; short ones mean as soon as something comes.
    pub(crate) fn set(&self, pause: Duration) {
        let pause = if pause < PAUSE_MIN { Duration::ZERO } else { pause };
        self.0.pause_us.store(pause.as_micros() as u64, Ordering::Relaxed);
    }

    /// Whether it is read on ticks and at no other time.
    pub(crate) fn is_on_ticks(&self) -> bool {
        self.get() == TICK && !self.0.is_early.load(Ordering::Relaxed)
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.pause_us.load(Ordering::Relaxed))
    }
}

/// A TCP connection that is read at a [`Pace`].
#[derive(Debug)]
pub(crate) struct PacedStream {
    stream: TcpStream,
    pace: Pace,
    /// The pause that the socket is set up for.
    pause: Duration,
    look: Look,
    waits: Waits,
    near: Duration,
    /// The next look is the first of its pause.
    is_first_look: bool,
    /// There may be more than was read.
    may_have_more: bool,
}

impl PacedStream {
    /// Reads as soon as something comes, until `pace` says otherwise.
    pub(crate) fn new(stream: TcpStream, pace: Pace) -> Self {
        let look = Look::At(Box::pin(sleep_until(Instant::now())));
        let (waits, is_first_look, may_have_more) = (Waits::default(), true, false);
        Self { stream, pace, pause: Duration::ZERO, look, waits, near: NEAR, is_first_look, may_have_more }
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
        let is_early = self.waits.are_likely() && self.waits.rtt > self.near;
        self.pace.0.is_early.store(is_early, Ordering::Relaxed);
        if self.pause == TICK && !is_early {
            self.is_first_look = true;
            if !matches!(self.look, Look::OnTicks(_)) {
                self.look = Look::OnTicks(Ticks::new());
            }
            return;
        }
        let now = Instant::now();
        let due = next_wake(now, self.pause);
        self.is_first_look = !is_early || due - now > FIRST_LOOK;
        let look = if is_early && self.is_first_look { due - FIRST_LOOK } else { due };
        match &mut self.look {
            Look::At(sleep) => sleep.as_mut().reset(look),
            Look::OnTicks(_) => self.look = Look::At(Box::pin(sleep_until(look))),
        }
    }

    /// For how long nothing has come says whether the encoder waits for the last to be acknowledged.
    fn note_silence(&mut self) {
        if self.is_first_look
            && let Ok(info) = tcp_info(&self.stream)
        {
            self.waits.note(info);
        }
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
            let is_due = paced.look.poll(cx).is_ready();
            if is_due {
                paced.note_silence();
                paced.plan_look();
            } else if !std::mem::take(&mut paced.may_have_more) {
                break;
            }
            if let Some(read) = paced.read_now(buffer) {
                // An encoder that waits sends more at once where it is near.
                paced.may_have_more = paced.waits.are_likely() || buffer.remaining() == 0;
                if paced.waits.are_likely() {
                    paced.acknowledge();
                }
                return Poll::Ready(read);
            }
        }
        // Much at once, the end, or no pauses.
        let read = Pin::new(&mut paced.stream).poll_read(cx, buffer);
        if read.is_ready() && !paced.pause.is_zero() && paced.waits.are_likely() {
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
