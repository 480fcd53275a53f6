//! Group commit: many requests, one fsync, and no timer.
//!
//! Each HTTP worker has a *lane*: an inbox of encoded events and a count of how many of them are
//! durable. One committer thread takes what all lanes hold, appends it as one batch, and wakes
//! each worker once; what arrives during that fsync is the next batch. So a lone request waits for
//! one fsync, and a crowd shares one, and a slow disk makes batches larger but blocks no worker.
//!
//! Invariants of a lane: `durable <= taken <= submitted`; events become durable in the order in
//! which they were submitted; once the WAL has failed, `durable` stays and every waiter is told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use sewer_wal::batch::BATCH_BYTES_MAX;
use sewer_wal::{Batch, Event, Wal, WalError};
use thiserror::Error;

use crate::metrics::Metrics;

/// The size at which a lane begins another batch. Above it one fsync gains nothing.
const LANE_BATCH_BYTES: usize = 512 << 10;

/// Why an event was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// More is waiting for the disk than `pixel.queue_bytes` allows.
    #[error("too many events wait for the disk")]
    Overloaded,
    /// The event does not fit the log.
    #[error("the event is over the limit")]
    TooLarge,
    /// The WAL has failed or is closed.
    #[error("the WAL takes no more events")]
    Closed,
}

/// What the lanes and the committer thread share.
#[derive(Debug)]
struct Shared {
    lanes: Mutex<Vec<Arc<Lane>>>,
    committer: OnceLock<Thread>,
    queued_bytes: AtomicUsize,
    queue_bytes_max: usize,
    stopping: AtomicBool,
    failed: AtomicBool,
}

/// The meeting point of one worker and the committer.
#[derive(Debug, Default)]
struct Lane {
    inbox: Mutex<Inbox>,
    durable: AtomicU64,
    worker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Batches in order, each with the number of the lane's last event in it.
    batches: VecDeque<(Batch, u64)>,
    submitted: u64,
    /// An emptied batch whose memory can be used again.
    reusable: Batch,
}

/// The thread that owns the WAL.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), WalError>>,
}

impl Committer {
    /// Starts the thread. `on_failure` is called on it if the WAL fails.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        wal: Wal,
        queue_bytes_max: usize,
        metrics: Arc<Metrics>,
        on_failure: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            committer: OnceLock::new(),
            queued_bytes: AtomicUsize::new(0),
            queue_bytes_max,
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        let run = move || {
            let result = Loop { wal, shared: &state, metrics, batch: Batch::default() }.run();
            if result.is_err() {
                state.failed.store(true, Ordering::Release);
                state.wake_all();
                on_failure();
            }
            result
        };
        let thread = std::thread::Builder::new().name("committer".into()).spawn(run)?;
        // Set before any lane exists, so that every submit finds it.
        shared.committer.set(thread.thread().clone()).expect("set only here");
        Ok(Self { shared, thread })
    }

    /// What workers make their lanes from.
    pub fn lanes(&self) -> Lanes {
        Lanes(Arc::clone(&self.shared))
    }

    /// Commits what is submitted, seals the segment and ends the thread.
    ///
    /// # Errors
    /// What the WAL failed with, now or earlier.
    pub fn stop(self) -> Result<(), WalError> {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread
            .join()
            .unwrap_or_else(|_| Err(WalError::Poisoned("the committer thread panicked".into())))
    }
}

/// Makes lanes.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Shared>);

impl Lanes {
    /// The events that were taken and are not yet on stable storage.
    pub fn unsynced(&self) -> u64 {
        let unsynced = |lane: &Arc<Lane>| {
            // In this order: what becomes durable in between is then not counted below zero.
            let durable = lane.durable.load(Ordering::Acquire);
            lock(&lane.inbox).submitted - durable
        };
        lock(&self.0.lanes).iter().map(unsynced).sum()
    }

    /// A lane for the calling worker; call it within the worker's event loop.
    pub fn attach(&self) -> Submitter {
        let lane = Arc::new(Lane::default());
        lock(&self.0.lanes).push(Arc::clone(&lane));
        let waiters = Rc::new(RefCell::new(Waiters::default()));
        let (woken_lane, woken_waiters) = (Arc::clone(&lane), Rc::clone(&waiters));
        let shared = Arc::clone(&self.0);
        actix_web::rt::spawn(poll_fn(move |cx| -> Poll<()> {
            woken_lane.worker.register(cx.waker());
            let durable = woken_lane.durable.load(Ordering::Acquire);
            let failed = shared.failed.load(Ordering::Acquire);
            woken_waiters.borrow_mut().wake(durable, failed);
            Poll::Pending
        }));
        Submitter { shared: Arc::clone(&self.0), lane, waiters }
    }
}

/// A worker's end of its lane.
#[derive(Debug)]
pub struct Submitter {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    waiters: Rc<RefCell<Waiters>>,
}

impl Submitter {
    /// Hands an event to the committer. The result completes when the event is on stable storage.
    ///
    /// # Errors
    /// [`SubmitError`]; the event is then not recorded.
    pub fn submit(&self, event: &Event<'_>) -> Result<Durable<'_>, SubmitError> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(SubmitError::Closed);
        }
        if self.shared.queued_bytes.load(Ordering::Relaxed) > self.shared.queue_bytes_max {
            return Err(SubmitError::Overloaded);
        }
        let (number, was_empty) = {
            let mut inbox = lock(&self.lane.inbox);
            let was_empty = inbox.batches.is_empty();
            let (number, bytes) = inbox.push(event)?;
            // Under the lock: the committer must not subtract what has not been added yet, for
            // below zero the counter says that the queue is full.
            self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            (number, was_empty)
        };
        if was_empty && let Some(committer) = self.shared.committer.get() {
            committer.unpark();
        }
        self.waiters.borrow_mut().queue.push_back(None);
        Ok(Durable { submitter: self, number })
    }
}

impl Inbox {
    /// Returns the event's number in its lane and the bytes that it takes.
    fn push(&mut self, event: &Event<'_>) -> Result<(u64, usize), SubmitError> {
        let full = |(batch, _): &(Batch, u64)| batch.framed_bytes() >= LANE_BATCH_BYTES;
        if self.batches.back().is_none_or(full) {
            self.batches.push_back((std::mem::take(&mut self.reusable), self.submitted));
        }
        let (batch, through) = self.batches.back_mut().expect("one was pushed if there was none");
        let before = batch.framed_bytes();
        if batch.push(event).is_err() {
            if batch.is_empty() {
                self.batches.pop_back();
            }
            return Err(SubmitError::TooLarge);
        }
        self.submitted += 1;
        *through = self.submitted;
        Ok((self.submitted, batch.framed_bytes() - before))
    }
}

/// The requests of one worker that wait, in the order of their numbers.
#[derive(Debug, Default)]
struct Waiters {
    /// The number of the last event that was answered.
    answered: u64,
    queue: VecDeque<Option<Waker>>,
    failed: bool,
}

impl Waiters {
    fn wake(&mut self, durable: u64, failed: bool) {
        while self.answered < durable {
            self.answered += 1;
            if let Some(waker) = self.queue.pop_front().flatten() {
                waker.wake();
            }
        }
        if failed {
            self.failed = true;
            self.queue.drain(..).flatten().for_each(Waker::wake);
        }
    }

    fn poll(&mut self, number: u64, cx: &Context<'_>) -> Poll<Result<(), SubmitError>> {
        if number <= self.answered {
            return Poll::Ready(Ok(()));
        }
        let place = usize::try_from(number - self.answered - 1).ok();
        match place.and_then(|place| self.queue.get_mut(place)) {
            Some(waker) if !self.failed => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Err(SubmitError::Closed)),
        }
    }
}

/// Completes when an event is on stable storage. Dropping it does not take the event back.
#[derive(Debug)]
pub struct Durable<'a> {
    submitter: &'a Submitter,
    number: u64,
}

impl Future for Durable<'_> {
    type Output = Result<(), SubmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.submitter.waiters.borrow_mut().poll(self.number, cx)
    }
}

/// What the committer thread does.
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
            if self.wal.next_tick().is_some_and(|at| at <= Instant::now()) {
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
        for (lane, through) in taken {
            lane.durable.store(*through, Ordering::Release);
            lane.worker.wake();
        }
        // What an event added to its batch when it was submitted: all but the entry's own frame.
        let bytes = self.batch.framed_bytes() - Batch::default().framed_bytes();
        let queued = self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(queued >= bytes, "{bytes} of {queued} queued bytes were committed");
        Ok(())
    }

    fn sleep(&self) {
        match self.wal.next_tick() {
            None => std::thread::park(),
            Some(at) => {
                std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn show_position(&self) {
        self.metrics.position(self.wal.next_lsn().0, self.wal.segment(), self.wal.segment_bytes());
    }
}

impl Shared {
    fn wake_all(&self) {
        for lane in lock(&self.lanes).iter() {
            lane.worker.wake();
        }
    }
}

/// A lock whose holder panicked still guards sound data here: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
