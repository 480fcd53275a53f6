//! One shipment, tried again and again until it is delivered.
//!
//! A shipment keeps its *slot* while its destination fails: every other one would fail too, and at
//! most `shipper.parallel` retry against a destination that is down. One that needs an operator
//! gives its slot back and holds up only its own events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::config::RetryConfig;
use crate::metrics::Metrics;
use crate::ship::backoff::Backoff;
use crate::ship::planner::Ended;
use crate::ship::{ShipError, Shipment};

/// What all shipments of a WAL share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// How long to wait after a failure.
    pub retry: RetryConfig,
    /// One for each shipment that may be at work.
    pub slots: Arc<Semaphore>,
    /// Told when one waits without its slot.
    pub slot_freed: Arc<Notify>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether to stop: the attempt under way is the last one.
    pub stopping: watch::Receiver<bool>,
}

/// Brings a shipment to its end.
pub async fn deliver(mut shipment: Shipment, slot: OwnedSemaphorePermit, shared: Shared) -> Ended {
    let mut stopping = shared.stopping.clone();
    let mut backoff = Backoff::new(&shared.retry);
    let mut slot = Some(slot);
    loop {
        if slot.is_none() {
            tokio::select! {
                free = Arc::clone(&shared.slots).acquire_owned() => {
                    slot = Some(free.expect("nobody closes the slots"));
                }
                () = stopped(&mut stopping) => return Ended::Stopped,
            }
        }
        if *stopping.borrow() {
            return Ended::Stopped;
        }
        let error = match attempt(&mut shipment).await {
            Ok(ended) => {
                if let Some(outcome) = ended.outcome() {
                    shared.metrics.ended(shipment.plan(), outcome);
                }
                return ended;
            }
            Err(error) => error,
        };
        shared.metrics.failed(Some(shipment.plan()), error.failure());
        let wait = backoff.after_failure(error.needs_a_human());
        log_failure(Some(&shipment.plan().file_name()), &error, wait);
        if error.needs_a_human() {
            slot = None;
            shared.slot_freed.notify_one();
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stopping) => return Ended::Stopped,
        }
    }
}

/// One attempt; a plan that no longer fits its segments is withdrawn or amended, and one whose
/// events are at the destination in other files is withdrawn.
async fn attempt(shipment: &mut Shipment) -> Result<Ended, ShipError> {
    let error = match shipment.run().await {
        Ok(()) => return Ok(Ended::Shipped),
        Err(error) => error,
    };
    if let ShipError::Elsewhere { files } = error {
        shipment.withdraw().await?;
        let names: Vec<_> = files.iter().map(ToString::to_string).collect();
        tracing::warn!(
            files = names.join(", "),
            "the destination has these events already, by a copy of this WAL; looking at each"
        );
        return Ok(Ended::Withdrawn { unreadable: None, at_destination: files });
    }
    let unreadable = error.unreadable_segment();
    if (!error.is_changed() && unreadable.is_none()) || !shipment.reconsider().await? {
        return Err(error);
    }
    tracing::warn!("{error}; planning its segments anew");
    let unreadable = unreadable.map(|name| (name, error.to_string()));
    Ok(Ended::Withdrawn { unreadable, at_destination: BTreeSet::new() })
}

/// Returns once it is time to stop; also if nobody can say so any more.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the reason to go on.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Says what failed and when it is tried again; louder where only a person can help.
pub(crate) fn log_failure(plan: Option<&str>, error: &ShipError, wait: Duration) {
    let (reason, retry_in_ms) = (error.reason(), wait.as_millis());
    if error.needs_a_human() {
        tracing::error!(reason, plan, retry_in_ms, "{error}");
    } else {
        tracing::warn!(reason, plan, retry_in_ms, "{error}");
    }
}
