//! Writes the log without blocking the thread that logs: lines go into a bounded buffer, and a thread writes them out.
//!
//! The reader of the log may stall (a full pipe, a hung terminal, a slow disk). Then the buffer fills up, further lines are
//! dropped and counted, and when writing continues, one line says how many were dropped. The buffer is bounded in bytes,
//! because the client has little memory; other appenders bound the number of lines, which does not bound the memory.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use telemeter_http::metrics::DroppedLogLines;

/// Cap on the bytes of lines that wait to be written.
pub(super) const CAPACITY_BYTES: usize = 256 * 1024;

/// Accepts whole lines and never blocks. Cheap to clone; clones share the buffer.
#[derive(Clone)]
pub struct LogWriter(Arc<Inner>);

struct Inner {
    capacity_bytes: usize,
    state: Mutex<WriterState>,
    /// Notified of each change of `state`.
    changed: Condvar,
    dropped: DroppedLogLines,
}

#[derive(Default)]
struct WriterState {
    /// Lines that wait to be written.
    lines: Vec<u8>,
    /// How many lines were dropped since the last one that was buffered.
    dropped: u64,
    /// Whether the thread is writing lines.
    writing: bool,
    /// Whether writing has failed: nothing more is written then.
    broken: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `out`. `notice` makes the line that says how many lines were dropped; `dropped`
    /// counts them.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start(
        out: impl Write + Send + 'static,
        capacity_bytes: usize,
        dropped: DroppedLogLines,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Inner { capacity_bytes, state: Mutex::default(), changed: Condvar::new(), dropped });
        let writer = Self(shared.clone());
        std::thread::Builder::new().name("log".to_owned()).stack_size(128 * 1024).spawn(move || {
            write_out(&shared, out, notice);
        })?;
        Ok(writer)
    }

    /// Waits until all lines are written, at most for `timeout`: an output that nobody reads must not delay the exit.
    pub fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.state.lock();
        while (state.writing || !state.lines.is_empty() || state.dropped > 0) && !state.broken {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Write for LogWriter {
    /// Buffers one line, or drops it where the buffer is full.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        // After a dropped line the others follow it until the notice is written: the log has one gap, not many.
        if state.dropped > 0 || state.lines.len() + line.len() > self.0.capacity_bytes {
            state.dropped += 1;
            self.0.dropped.inc();
        } else {
            state.lines.extend_from_slice(line);
        }
        drop(state);
        self.0.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all lines that arrive to `out`, many at once, until writing fails. Where lines were dropped, writes the line
/// that `notice` makes of their number. After a failure, no line is written any more.
fn write_out(shared: &Inner, mut out: impl Write, notice: impl Fn(u64) -> String) {
    let mut batch = Vec::new();
    loop {
        {
            let mut state = shared.state.lock();
            state.writing = false;
            shared.changed.notify_all();
            while state.lines.is_empty() && state.dropped == 0 {
                shared.changed.wait(&mut state);
            }
            state.writing = true;
            std::mem::swap(&mut batch, &mut state.lines);
            if state.dropped > 0 {
                batch.extend_from_slice(notice(std::mem::take(&mut state.dropped)).as_bytes());
            }
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            // The log cannot be written any more; later lines are counted as dropped.
            let mut state = shared.state.lock();
            state.broken = true;
            state.dropped = 1;
            drop(state);
            shared.changed.notify_all();
            return;
        }
        batch.clear();
        batch.shrink_to(16 * 1024);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// An output whose writes block until the test allows them.
    struct Stalled {
        allowed: mpsc::Receiver<()>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written.lock().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct LogOutput {
        writer: LogWriter,
        allow: mpsc::Sender<()>,
        written: Arc<Mutex<String>>,
        dropped: DroppedLogLines,
    }

    fn log(capacity_bytes: usize) -> LogOutput {
        let (allow, allowed) = mpsc::channel();
        let (written, dropped) = (Arc::default(), DroppedLogLines::default());
        let out = Stalled { allowed, written: Arc::clone(&written) };
        let notice = |lines| format!("{lines} dropped\n");
        let writer = LogWriter::start(out, capacity_bytes, dropped.clone(), notice).unwrap();
        LogOutput { writer, allow, written, dropped }
    }

    /// Waits until the thread has taken the buffered lines and blocks in its write.
    fn wait_until_writing(log: &LogOutput) {
        let deadline = Instant::now() + PATIENCE;
        while !log.writer.0.state.lock().lines.is_empty() {
            assert!(Instant::now() < deadline, "the thread takes nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn lines_come_out_in_order() {
        let mut log = log(1024);
        for _ in 0..9 {
            log.allow.send(()).unwrap();
        }
        for number in 0..9 {
            writeln!(log.writer, "line {number}").unwrap();
        }
        log.writer.flush(PATIENCE);
        let expected: String = (0..9).map(|number| format!("line {number}\n")).collect();
        assert_eq!(*log.written.lock(), expected);
        assert_eq!(log.dropped.get(), 0);
    }

    #[test]
    fn an_output_that_nobody_reads_blocks_nothing_and_the_gap_is_one_line() {
        let mut log = log(20);
        log.writer.write_all(b"first\n").unwrap();
        wait_until_writing(&log);
        // 20 bytes: three lines of six fit; all that follows is dropped, however short.
        for line in ["one..\n", "two..\n", "three\n", "four.\n", "5\n", "6\n"] {
            log.writer.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(log.dropped.get(), 3);
        let flushing = Instant::now();
        log.writer.flush(Duration::from_millis(50));
        assert!(flushing.elapsed() < PATIENCE, "a flush does not wait for ever");

        log.allow.send(()).unwrap();
        log.allow.send(()).unwrap();
        log.writer.flush(PATIENCE);
        log.writer.write_all(b"after\n").unwrap();
        log.allow.send(()).unwrap();
        log.writer.flush(PATIENCE);
        assert_eq!(*log.written.lock(), "first\none..\ntwo..\nthree\n3 dropped\nafter\n");
    }

    #[test]
    fn a_flush_does_not_wait_for_a_closed_output() {
        let mut log = log(20);
        drop(log.allow);
        log.writer.write_all(b"first\n").unwrap();
        log.writer.flush(PATIENCE);
        let deadline = Instant::now() + PATIENCE;
        while !log.writer.0.state.lock().broken {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        log.writer.write_all(b"second\n").unwrap();
        assert_eq!(log.dropped.get(), 1);
        log.writer.flush(PATIENCE);
    }
}
