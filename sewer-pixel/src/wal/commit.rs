//! Group commit: many requests, one fsync, and no timer.
//!
//! Each HTTP worker has a *lane* ([`crate::wal::lane`]): an inbox of encoded events and a count of
//! how many of them are durable. One committer thread takes what all lanes hold, appends it as one
//! batch, and tells each worker once; what arrives during that fsync is the next batch. So a lone
//! request waits for one fsync, a crowd shares one, and a slow disk makes batches larger but blocks
//! no worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use sewer_wal::batch::BATCH_BYTES_MAX;
use sewer_wal::{Batch, Wal, WalError};

use super::lane::{Lane, Lanes, Shared, lock};
use crate::metrics::Metrics;

/// The thread that owns the WAL.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), WalError>>,
}

impl Committer {
    /// Starts the thread. `on_failure` is called on it if the WAL fails.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(
        wal: Wal,
        queue_bytes_max: usize,
        metrics: Arc<Metrics>,
        on_failure: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(queue_bytes_max));
        let state = Arc::clone(&shared);
        let run = move || {
            let mut on_end = OnEnd { shared: Arc::clone(&state), on_failure: Some(on_failure) };
            let result = Loop { wal, shared: &state, metrics, batch: Batch::default() }.run();
            if result.is_ok() {
                on_end.on_failure = None;
            }
            result
        };
        let thread = std::thread::Builder::new().name("committer".into()).spawn(run)?;
        // Set before any lane exists, so that every submit finds it.
        shared.committer.set(thread.thread().clone()).expect("set only here");
        Ok(Self { shared, thread })
    }

    /// What workers make their lanes from.
    pub(crate) fn lanes(&self) -> Lanes {
        Lanes(Arc::clone(&self.shared))
    }

    /// Commits what is submitted, seals the segment and ends the thread.
    ///
    /// # Errors
    /// What the WAL failed with, now or earlier.
    pub(crate) fn stop(self) -> Result<(), WalError> {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread
            .join()
            .unwrap_or_else(|_| Err(WalError::Poisoned("the committer thread panicked".into())))
    }
}

/// Tells of the failure when the thread ends by one, also by a panic.
struct OnEnd<F: FnOnce()> {
    shared: Arc<Shared>,
    on_failure: Option<F>,
}

impl<F: FnOnce()> Drop for OnEnd<F> {
    fn drop(&mut self) {
        if let Some(on_failure) = self.on_failure.take() {
            self.shared.fail();
            on_failure();
        }
    }
}

/// The loop of the committer thread.
struct Loop<'a> {
    wal: Wal,
    shared: &'a Shared,
    metrics: Arc<Metrics>,
    batch: Batch,
}

impl Loop<'_> {
    fn run(mut self) -> Result<(), WalError> {
        self.show_position();
        loop {
            sewer_ops::failure::inject();
            // Read before the inboxes: what was submitted before the stop is then seen.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let taken = self.take();
            if !taken.is_empty() {
                self.commit(&taken)?;
            } else if stopping {
                return self.wal.close();
            } else {
                self.sleep();
            }
            if self.wal.next_tick() <= Instant::now() {
                let step = self.metrics.pulse().step();
                self.wal.tick()?;
                drop(step);
                self.show_position();
            }
        }
    }

    /// Moves a batch of each lane into `self.batch`, as far as they fit, and returns how far each
    /// lane is served with that.
    fn take(&mut self) -> Vec<(Arc<Lane>, u64)> {
        self.batch.clear();
        let mut taken = Vec::new();
        let mut lanes = lock(&self.shared.lanes);
        for lane in lanes.iter() {
            let mut inbox = lock(&lane.inbox);
            let Some((front, through)) = inbox.batches.front() else { continue };
            if self.batch.framed_bytes() + front.framed_bytes() > BATCH_BYTES_MAX {
                continue;
            }
            taken.push((Arc::clone(lane), *through));
            let (mut served, _) = inbox.batches.pop_front().expect("the front was just seen");
            if self.batch.is_empty() {
                std::mem::swap(&mut self.batch, &mut served);
            } else {
                self.batch.extend(&served);
            }
            served.clear();
            inbox.reusable = served;
        }
        // So that no lane is always the one that does not fit.
        if lanes.len() > 1 {
            lanes.rotate_left(1);
        }
        taken
    }

    fn commit(&mut self, taken: &[(Arc<Lane>, u64)]) -> Result<(), WalError> {
        let begun = Instant::now();
        let step = self.metrics.pulse().step();
        self.wal.append(&self.batch)?;
        drop(step);
        self.metrics.committed(self.batch.len(), self.batch.framed_bytes(), begun.elapsed());
        self.show_position();
        let bytes = self.batch.event_bytes();
        let queued = self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(queued >= bytes, "{bytes} of {queued} queued bytes were committed");
        for (lane, through) in taken {
            lane.set_durable(*through);
        }
        Ok(())
    }

    fn sleep(&self) {
        std::thread::park_timeout(self.wal.next_tick().saturating_duration_since(Instant::now()));
    }

    fn show_position(&self) {
        self.metrics.position(self.wal.next_lsn().0, self.wal.segment(), self.wal.segment_bytes());
    }
}
