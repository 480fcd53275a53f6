//! A worker's side of its lane to the committer.
//!
//! The events that one turn of the worker's event loop brings are encoded into a batch of the
//! worker's own, without a lock. At the end of the turn they go to the committer together, and the
//! worker goes on; it is woken once when they are on stable storage, and answers all of them. So
//! there is no timer: a lone request waits for one fsync, and what comes during that is the next
//! batch.
//!
//! Invariants of a lane: `durable <= handed over <= submitted`; events become durable in the order
//! in which they were submitted; once the WAL has failed, `durable` stays and every waiter is told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use sewer_wal::{Batch, Event};
use thiserror::Error;

use super::lane::{Lane, Lanes, Shared, lock};

/// The size at which a lane begins another batch. Above it one fsync gains nothing.
const LANE_BATCH_BYTES: usize = 512 << 10;

/// Why an event was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum SubmitError {
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

/// A worker's end of its lane.
#[derive(Debug)]
pub(crate) struct Submitter {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    turn: Rc<RefCell<Turn>>,
}

impl Submitter {
    /// A lane for the calling worker, in whose event loop this must be called.
    pub(crate) fn attach(lanes: &Lanes) -> Self {
        let (shared, lane) = (Arc::clone(&lanes.0), Arc::new(Lane::default()));
        lock(&shared.lanes).push(Arc::clone(&lane));
        let turn = Rc::new(RefCell::new(Turn::default()));
        let submitter = Self { shared, lane, turn };
        let (shared, lane) = (Arc::clone(&submitter.shared), Arc::clone(&submitter.lane));
        let turn = Rc::clone(&submitter.turn);
        // Woken by a turn's first event, so polled after every task that was ready before it.
        actix_web::rt::spawn(poll_fn(move |cx| -> Poll<()> {
            lane.waker.register(cx.waker());
            turn.borrow_mut().end(&shared, &lane, cx);
            Poll::Pending
        }));
        submitter
    }

    /// Takes an event into the turn. The result completes when the event is on stable storage.
    ///
    /// # Errors
    /// [`SubmitError`]; the event is then not recorded.
    pub(crate) fn submit(&self, event: &Event<'_>) -> Result<Durable<'_>, SubmitError> {
        if self.shared.has_failed() {
            return Err(SubmitError::Closed);
        }
        let mut turn = self.turn.borrow_mut();
        let waiting_bytes =
            self.shared.queued_bytes.load(Ordering::Relaxed) + turn.batch.event_bytes();
        if waiting_bytes > self.shared.queue_bytes_max {
            return Err(SubmitError::Overloaded);
        }
        if turn.batch.push(event).is_err() {
            return Err(SubmitError::TooLarge);
        }
        turn.submitted += 1;
        turn.queue.push_back(None);
        self.lane.submitted.store(turn.submitted, Ordering::Release);
        if turn.batch.len() == 1
            && let Some(waker) = &turn.waker
        {
            waker.wake_by_ref();
        }
        if turn.batch.framed_bytes() >= LANE_BATCH_BYTES {
            turn.hand_over(&self.shared, &self.lane);
        }
        Ok(Durable { turn: &self.turn, number: turn.submitted })
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        // What was acknowledged as received is not to be lost by a stop in the middle of a turn.
        self.turn.borrow_mut().hand_over(&self.shared, &self.lane);
    }
}

/// The events of a worker that are not handed over, and its requests that wait, in the order of
/// their numbers.
#[derive(Debug, Default)]
struct Turn {
    batch: Batch,
    submitted: u64,
    /// Wakes the task that ends turns.
    waker: Option<Waker>,
    /// The number of the last event that was answered.
    answered: u64,
    /// For each event after that, who waits for it.
    queue: VecDeque<Option<Waker>>,
    failed: bool,
}

impl Turn {
    fn end(&mut self, shared: &Shared, lane: &Lane, cx: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        self.hand_over(shared, lane);
        let durable = lane.durable.load(Ordering::Acquire);
        self.wake(durable, shared.has_failed());
    }

    fn hand_over(&mut self, shared: &Shared, lane: &Lane) {
        if self.batch.is_empty() {
            return;
        }
        let was_empty = {
            let mut inbox = lock(&lane.inbox);
            // Under the lock: the committer must not subtract what has not been added yet.
            shared.queued_bytes.fetch_add(self.batch.event_bytes(), Ordering::Relaxed);
            let was_empty = inbox.batches.is_empty();
            match inbox.batches.back_mut() {
                Some((batch, through)) if batch.framed_bytes() < LANE_BATCH_BYTES => {
                    batch.extend(&self.batch);
                    *through = self.submitted;
                    self.batch.clear();
                }
                _ => {
                    let empty = std::mem::take(&mut inbox.reusable);
                    let batch = std::mem::replace(&mut self.batch, empty);
                    inbox.batches.push_back((batch, self.submitted));
                }
            }
            was_empty
        };
        if was_empty {
            shared.wake_committer();
        }
    }

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
pub(crate) struct Durable<'a> {
    turn: &'a RefCell<Turn>,
    number: u64,
}

impl Future for Durable<'_> {
    type Output = Result<(), SubmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.turn.borrow_mut().poll(self.number, cx)
    }
}
