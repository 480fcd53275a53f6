//! A thread that looks at something now and then, and ends with its handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an end waits for the look that is under way, and how often it asks whether that is
/// over.
const END_TIME: Duration = Duration::from_secs(5);
const END_POLL: Duration = Duration::from_millis(1);

/// The thread. Dropping this ends it, once a look under way is over; what the look owns is dropped
/// then, too. A look that does not come to its end, on a file system that does not answer, ends
/// with the process.
#[derive(Debug)]
pub struct Periodic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Periodic {
    /// Looks at once and then after each interval, on a thread of that name.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        name: &str,
        interval: Duration,
        mut look: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                crate::failure::inject();
                look();
                std::thread::park_timeout(interval);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let end = Instant::now() + END_TIME;
            while !thread.is_finished() {
                if Instant::now() >= end {
                    let name = thread.thread().name();
                    return tracing::warn!(name, "a thread hangs; not waiting for it");
                }
                std::thread::sleep(END_POLL);
            }
            // A panic in it is told by the hook of [`crate::failure`].
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_looks_again_and_again_until_it_is_dropped() {
        let (looked, looks) = channel();
        let look = move || looked.send(()).expect("the test listens");
        let periodic = Periodic::start("look", Duration::from_millis(1), look).unwrap();
        for _ in 0..3 {
            looks.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(periodic);
        while looks.try_recv().is_ok() {}
        assert!(looks.recv().is_err(), "the thread and its end of the channel are gone");
    }

    #[test]
    fn a_long_interval_does_not_hold_up_the_end() {
        drop(Periodic::start("look", Duration::from_hours(1), || {}).unwrap());
    }
}
