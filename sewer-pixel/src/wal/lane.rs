//! Where the HTTP workers and the committer meet.
//!
//! Each worker has a [`Lane`]: an inbox of encoded events, and a count of how many of its events
//! are on stable storage. [`Shared`] is what all lanes and the committer thread have in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use futures_util::task::AtomicWaker;
use sewer_wal::Batch;

/// The meeting point of one worker and the committer.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(super) inbox: Mutex<Inbox>,
    pub(super) submitted: AtomicU64,
    pub(super) durable: AtomicU64,
    /// Wakes the task that ends the worker's turns.
    pub(super) waker: AtomicWaker,
}

/// The batches that were handed over and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Batches in order, each with the number of the lane's last event in it.
    pub(super) batches: VecDeque<(Batch, u64)>,
    /// An emptied batch whose memory can be used again.
    pub(super) reusable: Batch,
}

impl Lane {
    /// Its events that are not yet on stable storage.
    fn unsynced(&self) -> u64 {
        // In this order: what becomes durable in between is then not counted below zero.
        let durable = self.durable.load(Ordering::Acquire);
        self.submitted.load(Ordering::Acquire) - durable
    }

    /// Records that its events up to this one are on stable storage.
    pub(super) fn set_durable(&self, through: u64) {
        self.durable.store(through, Ordering::Release);
        self.waker.wake();
    }
}

/// State that the lanes and the committer thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lanes: Mutex<Vec<Arc<Lane>>>,
    pub(super) committer: OnceLock<Thread>,
    /// Bytes that were handed over and are not yet on stable storage.
    pub(super) queued_bytes: AtomicUsize,
    pub(super) queue_bytes_max: usize,
    pub(super) stopping: AtomicBool,
    failed: AtomicBool,
}

impl Shared {
    pub(super) fn new(queue_bytes_max: usize) -> Self {
        Self {
            lanes: Mutex::default(),
            committer: OnceLock::new(),
            queued_bytes: AtomicUsize::new(0),
            queue_bytes_max,
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    pub(super) fn wake_committer(&self) {
        if let Some(committer) = self.committer.get() {
            committer.unpark();
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Takes no more events, and tells every worker that waits.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        for lane in lock(&self.lanes).iter() {
            lane.waker.wake();
        }
    }
}

/// Makes lanes, and knows what is in them.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(pub(super) Arc<Shared>);

impl Lanes {
    /// The events that were taken and are not yet on stable storage.
    pub(crate) fn unsynced(&self) -> u64 {
        lock(&self.0.lanes).iter().map(|lane| lane.unsynced()).sum()
    }
}

/// A lock whose holder panicked still guards sound data here: every change is one call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
