//! A panic in any thread is a failure of the daemon: it ends, and its supervisor restarts it.
//!
//! A daemon that goes on without one of its threads is worse than one that is down for a moment:
//! nobody looks at the disk any more, or nobody commits, and health stays 200.

use std::panic::{PanicHookInfo, set_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a daemon that has failed may take to end by itself. What it has acknowledged is safe.
const END_TIME: Duration = Duration::from_secs(30);

/// Tells that the daemon has failed.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<State>);

#[derive(Debug, Default)]
struct State {
    has_failed: AtomicBool,
    told: Notify,
}

impl Failure {
    /// From now on a panic in any thread of the process is a failure. `on_panic` is called on that
    /// thread; it must not block.
    pub fn watch_panics(&self, on_panic: impl Fn() + Send + Sync + 'static) {
        let failure = self.clone();
        set_hook(Box::new(move |panic| {
            on_panic();
            failure.set();
            log(panic);
        }));
    }

    /// The daemon has failed. If it has not ended by itself after a while, the process ends.
    pub fn set(&self) {
        if self.0.has_failed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.told.notify_one();
        let end = || {
            std::thread::sleep(END_TIME);
            std::process::exit(i32::from(crate::EXIT_FAILED));
        };
        // Without a further thread it has to end by itself.
        let _ = std::thread::Builder::new().name("end".into()).spawn(end);
    }

    /// Whether it has.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.has_failed.load(Ordering::Acquire)
    }

    /// Waits until it has.
    pub async fn wait(&self) {
        while !self.is_set() {
            self.0.told.notified().await;
        }
        // For the next who waits.
        self.0.told.notify_one();
    }
}

fn log(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("-");
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(thread, place, "a thread panicked, the daemon ends: {text}\n{backtrace}");
}

/// Panics if a test wants the calling thread to: in builds with debug assertions, if
/// `SEWERTEST_PANIC` is `<name of the thread>:<path>` and there is a file at that path.
#[cfg(debug_assertions)]
pub fn inject() {
    if let Ok(wanted) = std::env::var("SEWERTEST_PANIC")
        && let Some((name, path)) = wanted.split_once(':')
        && std::thread::current().name() == Some(name)
        && std::path::Path::new(path).exists()
        // What a panic logs is no reason for another.
        && !std::thread::panicking()
    {
        panic!("as the test wants it");
    }
}

/// Does nothing: a build for use has no such door.
#[cfg(not(debug_assertions))]
pub const fn inject() {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_panic_in_any_thread_is_a_failure_told_at_once() {
        let (failure, calls) = (Failure::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        failure.watch_panics(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert!(!failure.is_set());
        for thread in ["sealer", "any other"] {
            let run = || panic!("as the test wants it");
            let thread = std::thread::Builder::new().name(thread.into()).spawn(run).unwrap();
            assert!(thread.join().is_err());
        }
        assert!(failure.is_set());
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Whoever asks later is told, too.
        runtime.block_on(failure.wait());
        runtime.block_on(failure.wait());
    }
}
