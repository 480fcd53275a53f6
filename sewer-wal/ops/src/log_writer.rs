//! Where the lines of the log go: standard error, by a thread of its own.
//!
//! Logging never fails, never blocks and never panics. Lines wait in a queue of bounded length;
//! when the reader of the log stalls and the queue is full, or when a line cannot be written, the
//! line is lost, and counted ([`lost_lines`]). The service goes on.

use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How many lines may wait.
const LINES_MAX: usize = 4096;

/// How many bytes they may have together.
const BYTES_MAX: usize = 1 << 20;

/// How long the end of the process waits for the lines that are still to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How often that looks for room in the queue.
const FLUSH_POLL: Duration = Duration::from_millis(1);

/// On a terminal a progress bar may stand where a line is to go; the bar is drawn again below it.
const ERASE_LINE: &[u8] = b"\r\x1b[2K";

static LOST: AtomicU64 = AtomicU64::new(0);

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// How many lines of the log were lost since the start.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Hands lines to the writing thread.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Item>,
    waiting_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// All that came before is written.
    Flushed(SyncSender<()>),
}

impl LogWriter {
    /// The writer of the process.
    pub(crate) fn get() -> Self {
        WRITER.get_or_init(Self::to_stderr).clone()
    }

    fn to_stderr() -> Self {
        let before: &[u8] = if std::io::stderr().is_terminal() { ERASE_LINE } else { b"" };
        Self::start(move |line| {
            let mut stderr = std::io::stderr().lock();
            // What cannot be erased is no reason to lose the line.
            let _ = stderr.write_all(before);
            stderr.write_all(line)
        })
    }

    /// A writer whose thread writes by this. Without a thread, every line is lost.
    fn start(write: impl FnMut(&[u8]) -> std::io::Result<()> + Send + 'static) -> Self {
        let (queue, items) = sync_channel(LINES_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&waiting_bytes);
        let run = move || write_all(&items, &waiting, write);
        // An error leaves nobody who receives, so that every line is counted as lost.
        let _ = std::thread::Builder::new().name("log".into()).spawn(run);
        Self { queue, waiting_bytes }
    }

    /// Takes a line with its line break; if there is no room for it, it is lost.
    pub(crate) fn line(&self, line: &[u8]) {
        crate::failure::inject();
        let bytes = line.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_lost =
            waiting + bytes > BYTES_MAX || self.queue.try_send(Item::Line(line.to_vec())).is_err();
        if is_lost {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the lines so far are written, but not for long.
    fn flush(&self, time: Duration) {
        let end = Instant::now() + time;
        let (flushed, done) = sync_channel(1);
        let mut item = Item::Flushed(flushed);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() >= end {
                return;
            }
            item = back;
            std::thread::sleep(FLUSH_POLL);
        }
        // A reader that stalls does not keep the process from ending.
        let _ = done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Waits, but not for long, until what was logged is written. For the end of the process.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIME);
    }
}

fn write_all(
    items: &Receiver<Item>,
    waiting_bytes: &AtomicUsize,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) {
    for item in items {
        match item {
            Item::Line(line) => {
                if write(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
                waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            }
            // Whoever waited may have given up.
            Item::Flushed(flushed) => drop(flushed.send(())),
        }
    }
}

/// A line that is being formatted; the formatter hands it over in one piece.
impl std::io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    /// The counter is one for the process.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let _alone = ALONE.lock();
        let (go, may_go) = channel::<()>();
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let writer = LogWriter::start(move |_| {
            // Until the other end is gone.
            let _ = may_go.recv();
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let before = lost_lines();
        for _ in 0..3 * LINES_MAX {
            writer.line(b"line\n");
        }
        let lost = usize::try_from(lost_lines() - before).unwrap();
        assert!(lost >= 2 * LINES_MAX - 1, "{lost}");
        writer.flush(Duration::from_millis(1));
        drop(go);
        writer.flush(Duration::from_mins(1));
        assert_eq!(written.load(Ordering::SeqCst), 3 * LINES_MAX - lost);
        assert_eq!(writer.waiting_bytes.load(Ordering::SeqCst), 0);
        let large = vec![b'x'; BYTES_MAX + 1];
        writer.line(&large);
        assert_eq!(usize::try_from(lost_lines() - before).unwrap(), lost + 1, "memory is bounded");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let _alone = ALONE.lock();
        let writer = LogWriter::start(|_| Err(std::io::ErrorKind::StorageFull.into()));
        let before = lost_lines();
        for _ in 0..3 {
            writer.line(b"line\n");
        }
        writer.flush(Duration::from_mins(1));
        assert_eq!(lost_lines() - before, 3);
    }
}
