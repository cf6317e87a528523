//! One tick for everything that a thread of the data plane does at intervals. A timer for each task would wake the
//! thread more often, each time with cold caches, and setting one costs a system call when the runtime's next poll
//! moves forward.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::Receiver,
    time::{Instant, sleep_until},
};

/// Interval of ticks. A platform's viewers are seconds behind anyway.
pub(crate) const TICK: Duration = Duration::from_millis(40);

/// The first wake after `after`. Wakes are multiples of `pause` on one clock, so that all streams of a thread wake it
/// together.
pub(crate) fn next_wake(after: Instant, pause: Duration) -> Instant {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    let pause_ns = pause.as_nanos().max(1);
    let since_ns = after.saturating_duration_since(*EPOCH).as_nanos();
    after + Duration::from_nanos((pause_ns - since_ns % pause_ns) as u64)
}

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread, with its clock, as owned by the data plane.
pub(crate) fn own_thread() {
    OWN_THREAD.set(true);
}

/// Counts the ticks of a thread, for as long as a [`Ticks`] refers to it.
#[derive(Debug, Default)]
struct Ticker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// The ticker has stopped.
    is_over: bool,
    /// Waiting tasks, each with its tick.
    waiting: Vec<(u64, Waker)>,
}

/// Every tick, or every second, third, … tick. All that wait for every third tick are woken by the same one.
#[derive(Debug)]
pub(crate) struct Ticks {
    ticker: Arc<Ticker>,
    every: u64,
    /// The tick to wait for.
    due: u64,
    /// The waker that is registered for it.
    registered: Option<Waker>,
}

impl Ticks {
    /// Every tick. Must be called on a runtime.
    pub(crate) fn new() -> Self {
        Self::every(1)
    }

    /// Every `every`th tick.
    pub(crate) fn every(every: u64) -> Self {
        let ticker = Ticker::of_thread();
        let mut ticks = Self { ticker, every, due: 0, registered: None };
        ticks.due = ticks.after(ticks.ticker.lock().count);
        ticks
    }

    /// Waits for the next tick. Cancel safe.
    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await;
    }

    /// Ready once per tick; missed ticks count as one.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.ticker.lock();
        let count = state.count;
        if count >= self.due {
            drop(state);
            self.due = self.after(count);
            self.registered = None;
            return Poll::Ready(());
        }
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push((self.due, cx.waker().clone()));
            drop(state);
            self.registered = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn after(&self, count: u64) -> u64 {
        (count / self.every + 1) * self.every
    }
}

impl Ticker {
    /// The ticker of this thread; starts one if none runs. A runtime that ended has stopped its ticker.
    fn of_thread() -> Arc<Self> {
        thread_local! {
            static RUNNING: RefCell<Weak<Ticker>> = const { RefCell::new(Weak::new()) };
        }
        RUNNING.with_borrow_mut(|running| {
            running.upgrade().filter(|ticker| !ticker.lock().is_over).unwrap_or_else(|| {
                let ticker = Arc::new(Self::default());
                *running = Arc::downgrade(&ticker);
                tokio::spawn(Arc::clone(&ticker).run());
                ticker
            })
        })
    }

    /// Runs until nothing refers to it.
    async fn run(self: Arc<Self>) {
        let (mut timer, mut woken) = (Timer::start(), Vec::new());
        loop {
            timer.next().await;
            let mut state = self.lock();
            if Arc::strong_count(&self) == 1 {
                state.is_over = true;
                return;
            }
            state.count += 1;
            let count = state.count;
            woken.extend(state.waiting.extract_if(.., |(due, _)| *due <= count).map(|(_, waker)| waker));
            drop(state);
            woken.drain(..).for_each(Waker::wake);
        }
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the thread. A periodic timer of the kernel needs no call per tick, and avoids the extra wakes with which the
/// runtime moves timers between the levels of its wheel.
enum Timer {
    Kernel(Receiver),
    Runtime,
}

impl Timer {
    fn start() -> Self {
        // The clock of a borrowed runtime may be paused and advanced by tests; the kernel's timer would ignore that.
        if OWN_THREAD.get() { Self::of_kernel().unwrap_or(Self::Runtime) } else { Self::Runtime }
    }

    #[cfg(target_os = "linux")]
    fn of_kernel() -> io::Result<Self> {
        use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let now = Instant::now();
        let first = next_wake(now, TICK) - now;
        timer.set(Expiration::IntervalDelayed(first.into(), TICK.into()), TimerSetTimeFlags::empty())?;
        // The runtime only needs a descriptor that becomes readable, as that of a pipe does.
        Ok(Self::Kernel(Receiver::from_owned_fd_unchecked(timer.into())?))
    }

    #[cfg(not(target_os = "linux"))]
    fn of_kernel() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for the next tick; missed ticks count as one.
    async fn next(&mut self) {
        match self {
            Self::Runtime => sleep_until(next_wake(Instant::now(), TICK)).await,
            Self::Kernel(timer) => {
                let mut expirations = [0; 8];
                if timer.read(&mut expirations).await.is_err() {
                    *self = Self::Runtime;
                }
            }
        }
    }
}

/// Number of ticks in `time`, rounded down.
pub(crate) const fn ticks_in(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_of_all_streams_coincide() {
        let pause = TICK;
        let now = next_wake(Instant::now(), pause) + Duration::from_millis(3);
        let wake = next_wake(now, pause);
        assert!(wake > now && wake - now <= pause);
        for later_ms in [1, 7, 39] {
            let other = next_wake(now + Duration::from_millis(later_ms), pause);
            assert!(other == wake || other == wake + pause, "{later_ms}");
        }
        assert_eq!(next_wake(wake, pause), wake + pause);
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_wakes_all_and_missed_ticks_count_as_one() {
        let (mut each, mut third) = (Ticks::new(), Ticks::every(3));
        each.next().await;
        let begun = Instant::now();
        for _ in 0..6 {
            each.next().await;
        }
        assert_eq!(begun.elapsed(), 6 * TICK);
        third.next().await;
        assert_eq!(begun.elapsed(), 6 * TICK, "of two due ticks, the missed one is not repeated");
        third.next().await;
        let (at, step) = (begun.elapsed(), begun.elapsed() - 6 * TICK);
        assert!(step > Duration::ZERO && step <= 3 * TICK, "{at:?}");
        third.next().await;
        assert_eq!(begun.elapsed() - at, 3 * TICK);
        each.next().await;
        assert_eq!(begun.elapsed() - at, 3 * TICK, "it is due at once");
    }

    #[tokio::test(start_paused = true)]
    async fn ticker_stops_without_waiters_and_starts_again() {
        let ticks = Ticks::new();
        let ticker = Arc::downgrade(&ticks.ticker);
        drop(ticks);
        tokio::time::sleep(2 * TICK).await;
        assert!(ticker.upgrade().is_none());
        Ticks::new().next().await;
    }
}
