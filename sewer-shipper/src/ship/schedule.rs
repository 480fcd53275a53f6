//! Shipments at the same time: while one file closes, the next one is already being written.
//!
//! Up to `shipper.parallel` shipments are at work. They share nothing but the destination: each has
//! segments of its own, a plan of its own, and names of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sewer_wal::SegmentName;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::ship::ShipError;
use crate::ship::backoff::Backoff;
use crate::ship::deliver::{Shared, deliver, log_failure};
use crate::ship::done_marker::Marker;
use crate::ship::planner::{Ended, Planner};

/// How many shipments may wait for a person before no new one is planned.
const WAITING_MAX: usize = 16;
/// How often a drain looks whether it still makes progress.
const DRAIN_LOOK: Duration = Duration::from_millis(500);
/// The shortest sleep between two looks.
const SHORTEST_REST: Duration = Duration::from_millis(10);
/// How often to look for complete partitions.
const MARK_INTERVAL: Duration = Duration::from_secs(10);

/// What ends the shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Being told to stop. What is due is shipped, and looked for at these intervals.
    Stopped {
        /// The longest time without a look.
        scan_interval: Duration,
    },
    /// An empty backlog. Everything is due.
    Drained {
        /// How long to go on without any progress.
        patience: Duration,
    },
}

/// Ships until `until` says so, or `stopping` does; `sealed` tells of new segments. Then nothing is
/// under way any more. `true` if the backlog was drained.
pub async fn ship(
    planner: &mut Planner,
    until: Until,
    sealed: &Notify,
    stopping: watch::Receiver<bool>,
) -> bool {
    let mut schedule = Schedule::new(planner, until, stopping);
    let drained = schedule.run(sealed).await;
    if !drained && !*schedule.shared.stopping.borrow() {
        // No progress for `patience`: give up. Aborting is safe, every step can be resumed.
        schedule.under_way.abort_all();
    }
    // The attempts under way come to their end; who stops the shipping bounds the time.
    while schedule.under_way.join_next().await.is_some() {}
    drained
}

struct Schedule<'a> {
    planner: &'a mut Planner,
    until: Until,
    shared: Shared,
    under_way: JoinSet<(Vec<SegmentName>, Ended)>,
    /// The failures of planning.
    backoff: Backoff,
    marking: Option<Marking>,
    progress: Progress,
}

impl<'a> Schedule<'a> {
    fn new(planner: &'a mut Planner, until: Until, stopping: watch::Receiver<bool>) -> Self {
        let config = planner.config();
        let shared = Shared {
            retry: config.retry.clone(),
            slots: Arc::new(Semaphore::new(config.shipper.parallel.get())),
            slot_freed: Arc::new(Notify::new()),
            metrics: Arc::clone(planner.metrics()),
            stopping,
        };
        Self {
            backoff: Backoff::new(&config.retry),
            marking: planner.marker().map(Marking::new),
            progress: Progress { since: Instant::now(), steps: 0 },
            planner,
            until,
            shared,
            under_way: JoinSet::new(),
        }
    }

    async fn run(&mut self, sealed: &Notify) -> bool {
        let mut stopping = self.shared.stopping.clone();
        let slot_freed = Arc::clone(&self.shared.slot_freed);
        while !*stopping.borrow() {
            let pause = match self.fill().await {
                Ok(pause) => pause,
                Err(error) => Some(self.failed(&error)),
            };
            if let Until::Drained { patience } = self.until {
                if self.under_way.is_empty() && pause.is_none() {
                    self.mark_at_last().await;
                    return true;
                }
                let delivered = self.planner.metrics().delivered();
                // What is found at the destination is progress, too.
                let steps = delivered.files.saturating_add(delivered.segments);
                if self.progress.is_over(steps, patience) {
                    tracing::error!("no progress for the time of retry.replay_patience");
                    return false;
                }
            }
            let rest = self.rest(pause);
            tokio::select! {
                Some(ended) = self.under_way.join_next() => self.ended(ended),
                () = slot_freed.notified() => {}
                () = sealed.notified() => {}
                () = tokio::time::sleep(rest) => {}
                _ = stopping.changed() => {}
            }
        }
        false
    }

    /// Begins shipments while there are slots and something is due; returns how long until there
    /// is more, `None` if nothing waits for that.
    async fn fill(&mut self) -> Result<Option<Duration>, ShipError> {
        let drains = matches!(self.until, Until::Drained { .. });
        self.mark().await?;
        loop {
            self.planner.refresh()?;
            let waiting = self.under_way.len().saturating_sub(self.at_work());
            let slot = match Arc::clone(&self.shared.slots).try_acquire_owned() {
                Ok(slot) if waiting < WAITING_MAX => slot,
                _ => return Ok(self.planner.until_due()),
            };
            let next = self.planner.next_shipment(drains).await?;
            self.backoff.reset();
            self.planner.metrics().planning_works();
            let Some(shipment) = next else { return Ok(self.planner.until_due()) };
            let segments = shipment.plan().segments.clone();
            let shared = self.shared.clone();
            let delivery = async move { (segments, deliver(shipment, slot, shared).await) };
            self.under_way.spawn(delivery);
        }
    }

    /// The shipments that hold a slot.
    fn at_work(&self) -> usize {
        let slots = self.planner.config().shipper.parallel.get();
        slots.saturating_sub(self.shared.slots.available_permits())
    }

    fn ended(&mut self, ended: Result<(Vec<SegmentName>, Ended), JoinError>) {
        match ended {
            Ok((segments, how)) => self.planner.ended(&segments, how),
            // Its plan is taken up again by the next start; its segments stay claimed.
            Err(error) => {
                tracing::error!(%error, "a shipment ended unexpectedly; restart to go on");
            }
        }
    }

    /// Planning failed; returns how long to wait.
    fn failed(&mut self, error: &ShipError) -> Duration {
        self.planner.metrics().failed(None, error.failure());
        let wait = self.backoff.after_failure(error.needs_a_human());
        log_failure(None, error, wait);
        wait
    }

    /// How long to sleep if nothing happens.
    fn rest(&self, pause: Option<Duration>) -> Duration {
        let longest = match self.until {
            Until::Stopped { scan_interval } => scan_interval,
            Until::Drained { .. } => DRAIN_LOOK,
        };
        pause.map_or(longest, |pause| pause.clamp(SHORTEST_REST, longest))
    }

    /// Lets complete partitions be marked, beside the shipping.
    async fn mark(&mut self) -> Result<(), ShipError> {
        let Some(rounds) = &mut self.marking else { return Ok(()) };
        let Some(marker) = rounds.due() else { return Ok(()) };
        // What is active first: events go from there to what is sealed.
        let active = marker.oldest_active_ms().await;
        let backlog = self.planner.refresh()?;
        let metrics = Arc::clone(self.planner.metrics());
        rounds.task = Some(tokio::spawn(async move {
            let outcome = match active {
                Ok(active_ms) => marker.mark(active_ms, backlog).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!("mark partitions as done: {error}; tried again");
                metrics.marking_failed(error.to_string());
            } else {
                metrics.marking_works();
            }
        }));
        Ok(())
    }

    /// Marks what a drain has completed, before it ends.
    async fn mark_at_last(&mut self) {
        let Some(rounds) = &mut self.marking else { return };
        rounds.finish().await;
        rounds.last = None;
        if let Err(error) = self.mark().await {
            tracing::warn!("mark partitions as done: {error}");
        }
        if let Some(rounds) = &mut self.marking {
            rounds.finish().await;
        }
    }
}

/// When something was delivered last.
struct Progress {
    since: Instant,
    steps: u64,
}

impl Progress {
    fn is_over(&mut self, steps: u64, patience: Duration) -> bool {
        if steps != self.steps {
            *self = Self { since: Instant::now(), steps };
        }
        self.since.elapsed() >= patience
    }
}

/// The marking of complete partitions, one round at a time.
struct Marking {
    marker: Marker,
    last: Option<Instant>,
    task: Option<JoinHandle<()>>,
}

impl Marking {
    const fn new(marker: Marker) -> Self {
        Self { marker, last: None, task: None }
    }

    /// Waits for the round under way.
    async fn finish(&mut self) {
        if let Some(task) = self.task.take() {
            // It tells its failures itself; what is not marked stays open.
            let _ = task.await;
        }
    }

    /// What is to be done now, if anything.
    fn due(&mut self) -> Option<Marker> {
        let is_busy = self.task.as_ref().is_some_and(|task| !task.is_finished());
        let is_early = self.last.is_some_and(|last| last.elapsed() < MARK_INTERVAL);
        if is_busy || is_early || !self.marker.has_work() {
            return None;
        }
        self.last = Some(Instant::now());
        Some(self.marker.clone())
    }
}
