//! The lines of the log on their way out. Standard error may be a pipe that is full, or a terminal that was stopped: its writer
//! then waits, and must be a thread that has nothing else to do. Streams and requests only leave their lines here.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// What waits to be written: some thousand lines, which is minutes of a busy server.
const BYTES_MAX: usize = 1024 * 1024;

/// After lines that could not be written.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Lines that wait, and the thread that writes them. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A line came, or all are written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Of all that wait.
    bytes: usize,
    /// The thread is writing some.
    writes: bool,
    /// Lost, and not told yet.
    untold: u64,
    /// Lost since the start.
    lost: u64,
    /// The thread does not exist, or came to its end.
    is_over: bool,
}

impl Lines {
    /// Begins a thread that writes to `out`; `told` gives the line that says how many were lost, for when it can write again.
    pub(crate) fn to(out: impl Write + Send + 'static, told: impl Fn(u64) -> String + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(out, told));
        lines.0.lock().is_over = thread.is_err();
        lines
    }

    /// Leaves a line, which is lost when too many wait.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.is_over || state.bytes + line.len() > BYTES_MAX {
            state.untold += 1;
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.waiting.push_back(line.to_vec());
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all is written, but no longer than that.
    pub(crate) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        while !state.is_over && (state.writes || !state.waiting.is_empty()) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines were lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lock().lost
    }
}

impl Shared {
    fn write(&self, mut out: impl Write, told: impl Fn(u64) -> String) {
        let mut is_torn = false;
        loop {
            let batch = {
                let mut state = self.lock();
                state.writes = false;
                self.changed.notify_all();
                while state.waiting.is_empty() {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.writes = true;
                state.bytes = 0;
                mem::take(&mut state.waiting)
            };
            let mut write = |line: &[u8]| {
                // What was written in part, such as to a disk that is full, must not run into the next.
                let begun = if mem::take(&mut is_torn) { out.write_all(b"\n") } else { Ok(()) };
                let written = begun.and_then(|()| out.write_all(line)).and_then(|()| out.flush());
                is_torn = written.is_err();
                written.is_ok()
            };
            let failed = batch.iter().filter(|line| !write(line)).count() as u64;
            let untold = {
                let mut state = self.lock();
                state.untold += failed;
                state.lost += failed;
                state.untold
            };
            if failed > 0 {
                // A disk that is full, or an end that was closed: there is nowhere to say so.
                thread::park_timeout(AFTER_FAILURE);
            } else if untold > 0 && write(told(untold).as_bytes()) {
                self.lock().untold -= untold;
            }
        }
    }

    /// A poisoned lock still guards whole lines.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event of `tracing`, which is written in one piece.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a line whenever it is let.
    struct Stuck {
        leave: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.leave.recv().map_err(io::Error::other)?;
            self.written.lock().expect("is whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_hold_up_nobody_and_are_counted() {
        let (go, leave) = mpsc::sync_channel(100_000);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let out = Stuck { leave, written: Arc::clone(&written) };
        let lines = Lines::to(out, |lost| format!("lost {lost}"));
        let line = [b'x'; 1_024];
        for _ in 0..5_000 {
            lines.push(&line);
        }
        let lost = lines.lost();
        assert!((2_900..=4_000).contains(&lost), "{lost}");
        lines.flush(Duration::from_millis(1));
        // The line that tells of it comes after those that were in store when there was room again.
        for _ in lost..=5_000 {
            go.send(()).expect("waits");
        }
        lines.flush(Duration::from_secs(30));
        lines.push(b"once more");
        go.send(()).expect("waits");
        lines.flush(Duration::from_secs(30));
        let text = String::from_utf8(written.lock().expect("is whole").clone()).expect("is text");
        assert!(text.ends_with("once more") && text.matches(&format!("lost {lost}")).count() == 1, "{lost}");
        assert_eq!(text.matches('x').count() as u64, (5_000 - lost) * 1_024);
        assert_eq!(lines.lost(), lost, "telling is no loss");
    }

    #[test]
    fn an_end_that_is_closed_holds_up_nobody() {
        let (go, leave) = mpsc::sync_channel(1);
        drop(go);
        let lines = Lines::to(Stuck { leave, written: Arc::default() }, |lost| format!("lost {lost}"));
        for _ in 0..100 {
            lines.push(b"a line");
        }
        lines.flush(Duration::from_secs(30));
        assert_eq!(lines.lost(), 100);
        // What cannot be said is not said again and again.
        lines.push(b"one more");
        lines.flush(Duration::from_secs(30));
        assert_eq!(lines.lost(), 101);
    }
}
