//! The queue of log lines. Standard error may be a full pipe or a stopped terminal, where a write blocks. So only a
//! dedicated thread writes; streams and requests just queue their lines.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes in the queue: some thousand lines, which a busy server writes in minutes.
const BYTES_MAX: usize = 1024 * 1024;

/// The pause after a failed write.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The queue of log lines and the thread that writes them. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signals that a line was queued, or that all are written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// The bytes of all queued lines.
    bytes: usize,
    /// Whether the thread is writing.
    writes: bool,
    /// Lost lines that were not reported yet.
    unreported: u64,
    /// Lost since the start.
    lost: u64,
    /// The thread did not start, or has ended.
    is_over: bool,
}

impl Lines {
    /// Starts a thread that writes to `out`. `loss_report` formats the line that reports the number of lost lines; it is
    /// written once writing succeeds again.
    pub(crate) fn to(out: impl Write + Send + 'static, loss_report: impl Fn(u64) -> String + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(out, loss_report));
        lines.0.lock().is_over = thread.is_err();
        lines
    }

    /// Queues a line. It is lost if the queue is full.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.is_over || state.bytes + line.len() > BYTES_MAX {
            state.unreported += 1;
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.waiting.push_back(line.to_vec());
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, at most for `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        while !state.is_over && (state.writes || !state.waiting.is_empty()) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The number of lines lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lock().lost
    }
}

impl Shared {
    fn write(&self, mut out: impl Write, loss_report: impl Fn(u64) -> String) {
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
                // A partly written line, for example on a full disk, must not run into the next one.
                let begun = if mem::take(&mut is_torn) { out.write_all(b"\n") } else { Ok(()) };
                let written = begun.and_then(|()| out.write_all(line)).and_then(|()| out.flush());
                is_torn = written.is_err();
                written.is_ok()
            };
            let failed = batch.iter().filter(|line| !write(line)).count() as u64;
            let unreported = {
                let mut state = self.lock();
                state.unreported += failed;
                state.lost += failed;
                state.unreported
            };
            if failed > 0 {
                // The disk is full or the output is closed, so this cannot be reported now.
                thread::park_timeout(AFTER_FAILURE);
            } else if unreported > 0 && write(loss_report(unreported).as_bytes()) {
                self.lock().unreported -= unreported;
            }
        }
    }

    /// The state. It is intact even if a thread panicked while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer of one `tracing` event, which arrives in one piece.
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

    /// A writer that writes one line per permission.
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
    fn a_blocked_output_blocks_no_caller_and_lost_lines_are_counted() {
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
        // The line that reports the loss follows the lines that were queued by then.
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
        assert_eq!(lines.lost(), lost, "the report itself is not lost");
    }

    #[test]
    fn a_closed_output_blocks_no_caller() {
        let (go, leave) = mpsc::sync_channel(1);
        drop(go);
        let lines = Lines::to(Stuck { leave, written: Arc::default() }, |lost| format!("lost {lost}"));
        for _ in 0..100 {
            lines.push(b"a line");
        }
        lines.flush(Duration::from_secs(30));
        assert_eq!(lines.lost(), 100);
        // A failed report is not repeated without end.
        lines.push(b"one more");
        lines.flush(Duration::from_secs(30));
        assert_eq!(lines.lost(), 101);
    }
}
