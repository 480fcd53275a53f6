//! One shipment, from plan to deletion: write, confirm, publish, delete.
//!
//! Every step can be cut anywhere and is taken up again by [`Shipment::run`]. What decides is what
//! is found: a final name with the content that the plan remembers, or yields, is done; temporary
//! files are removed by the names that the plan remembers, and written anew. Segments are deleted
//! only once the journal says, durably, that every output is published; a segment that is missing
//! earlier is never taken for a shipped one.

mod changes;
mod looks;
mod temporary;

use std::sync::Arc;

use bytes::Bytes;
use sewer_wal::{Layout, SegmentName, WalError, sealed};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::destination::{CreateOptions, Destination, Fingerprint, Lowered, Published, publish};
use crate::metrics::Metrics;
use crate::plan::journal::Journal;
use crate::plan::{OutputPlan, Plan, is_foreign};
use crate::ship::ShipError;
use crate::ship::done_marker::OpenPartitions;
use crate::ship::encode::encode;
use crate::ship::quarantine;

/// How many chunks may wait between encoding and the destination.
const CHUNKS_AHEAD_MAX: usize = 2;

/// What a shipment works with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The WAL that is drained.
    pub layout: Layout,
    /// Where the plans are.
    pub journal: Journal,
    /// Where the output goes.
    pub destination: Arc<dyn Destination>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which partitions are to get a marker once they are complete, if that is asked for.
    pub open_partitions: Option<Arc<OpenPartitions>>,
}

/// A shipment under way.
#[derive(Debug)]
pub struct Shipment {
    plan: Arc<Plan>,
    tools: Tools,
    /// Per output: how it has to be written.
    progress: Vec<Progress>,
    /// When it was taken up from an earlier process, whose last calls may still be carried out.
    taken_up: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Progress {
    /// True if nothing of an earlier attempt can be there.
    is_clean: bool,
    /// True while the last attempt in the plan has not begun.
    is_reserved: bool,
    /// Whether an attempt has failed here.
    has_failed: bool,
    /// Until when a temporary file may come to be whose creation got no answer.
    late_until: Option<Instant>,
    lowered: Option<Lowered>,
}

impl Progress {
    const fn new(is_new: bool) -> Self {
        Self {
            is_clean: is_new,
            is_reserved: is_new,
            has_failed: !is_new,
            late_until: None,
            lowered: None,
        }
    }
}

impl Shipment {
    /// Takes up a plan. `is_new`: it was made just now, so that nothing of it can exist yet.
    pub fn new(plan: Plan, is_new: bool, tools: Tools) -> Self {
        let progress = vec![Progress::new(is_new); plan.outputs.len()];
        let taken_up = (!is_new).then(Instant::now);
        Self { plan: Arc::new(plan), tools, progress, taken_up }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Brings the shipment to its end. After an error it can be called again, and goes on.
    ///
    /// # Errors
    /// [`ShipError`]; nothing is lost.
    pub async fn run(&mut self) -> Result<(), ShipError> {
        if !self.plan.published {
            self.check_segments().await?;
            if self.plan.look_first {
                self.look_for_others().await?;
                self.amend(|plan| plan.look_first = false).await?;
            }
            while let Some(index) = self.next_output() {
                self.deliver(index).await?;
                self.amend(|plan| plan.outputs[index].published = true).await?;
            }
            if !self.plan.published {
                // Nothing is left of its events.
                self.amend(|_| {}).await?;
            }
        }
        self.delete().await
    }

    fn next_output(&self) -> Option<usize> {
        self.plan.outputs.iter().position(|output| !output.published)
    }

    /// Changes the plan, durably. It is published once its last output is.
    async fn amend(&mut self, change: impl FnOnce(&mut Plan)) -> Result<(), ShipError> {
        let mut plan = Plan::clone(&self.plan);
        change(&mut plan);
        plan.published = plan.outputs.iter().all(|output| output.published);
        let (journal, plan) = (self.tools.journal.clone(), Arc::new(plan));
        let stored = Arc::clone(&plan);
        tokio::task::spawn_blocking(move || journal.store(&stored)).await??;
        self.plan = plan;
        Ok(())
    }

    async fn check_segments(&self) -> Result<(), ShipError> {
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let missing = tokio::task::spawn_blocking(move || -> Result<Vec<SegmentName>, WalError> {
            let there = layout.sealed_names()?;
            let is_missing = |name: &SegmentName| there.binary_search(name).is_err();
            Ok(plan.segments.iter().copied().filter(is_missing).collect())
        })
        .await??;
        if missing.is_empty() {
            return Ok(());
        }
        Err(ShipError::Vanished { plan: self.plan.file_name(), missing })
    }

    /// Writes and publishes one output, unless that has happened.
    async fn deliver(&mut self, index: usize) -> Result<(), ShipError> {
        let is_found = if self.progress[index].is_clean {
            false
        } else {
            let found = self.is_found(index).await;
            if found.as_ref().is_err_and(ShipError::is_conflict) {
                // The name may stay taken for long, and what was written for it is of no use then.
                self.clean(index).await?;
                self.progress[index].is_clean = false;
            }
            found?
        };
        self.clean(index).await?;
        if !is_found {
            let (temporary, content) = self.write(index).await?;
            self.publish(index, &temporary, content).await?;
        }
        if self.progress[index].has_failed {
            // A call that got no answer may have been carried out late, after the last look; and
            // once the plan is gone, nobody looks again.
            self.wait_for_late_file(index).await;
            self.progress[index].is_clean = false;
            self.clean(index).await?;
        }
        let output = &self.plan.outputs[index];
        if let Some(replication) = output.replication {
            let path = output.final_path();
            self.tools.destination.restore_replication(&path, replication).await?;
            tracing::info!(%path, replication, "restored the replication; HDFS makes the copies");
        }
        Ok(())
    }

    /// Writes an output under a new temporary name, which it returns with its content as confirmed
    /// and as noted in the plan.
    async fn write(&mut self, index: usize) -> Result<(String, Fingerprint), ShipError> {
        let temporary = self.begin_attempt(index).await?;
        let progress = &mut self.progress[index];
        // Until it is published, a failure leaves something behind.
        progress.is_clean = false;
        let options = CreateOptions { replication: progress.lowered.map(|lowered| lowered.to) };
        let output = self.plan.outputs[index].clone();
        let written = self.stream(&output, &temporary, options).await;
        self.progress[index].has_failed |= written.is_err();
        if let Err(ShipError::Destination(error)) = &written {
            if let Some(within) = error.may_be_created_within() {
                self.progress[index].late_until = Some(Instant::now() + within);
            }
            if error.fewer_replicas_may_help() {
                self.lower_replication(index, &temporary).await?;
            }
        }
        let content = written?;
        self.amend(|plan| plan.outputs[index].confirmed = Some(content)).await?;
        Ok((temporary, content))
    }

    /// Encodes on a thread of its own while the destination takes what is ready.
    async fn stream(
        &self,
        output: &OutputPlan,
        temporary: &str,
        options: CreateOptions,
    ) -> Result<Fingerprint, ShipError> {
        let mut file = self.tools.destination.create(temporary, options).await?;
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_AHEAD_MAX);
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let planned = output.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            encode(&layout, &plan, &planned, |chunk| sender.blocking_send(chunk).is_ok())
        });
        while let Some(chunk) = chunks.recv().await {
            file.write(chunk).await?;
        }
        // Only a whole file may be closed.
        let encoded = encoding.await??;
        let closed = file.close().await?;
        if closed != encoded.bytes {
            let (path, encoded) = (temporary.to_owned(), encoded.bytes);
            return Err(ShipError::Length { path, closed, encoded });
        }
        Ok(encoded)
    }

    /// Makes the next attempt with fewer replicas, and the plan remember to restore them.
    async fn lower_replication(&mut self, index: usize, temporary: &str) -> Result<(), ShipError> {
        let lowered = match self.tools.destination.lower_replication(temporary).await {
            Ok(Some(lowered)) => lowered,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "cannot tell the replication");
                return Ok(());
            }
        };
        let Lowered { from, to } = lowered;
        if self.plan.outputs[index].replication.is_none() {
            self.amend(|plan| plan.outputs[index].replication = Some(from)).await?;
        }
        self.progress[index].lowered = Some(lowered);
        tracing::warn!(from, to, "trying with fewer replicas; restored once published");
        Ok(())
    }

    async fn publish(
        &mut self,
        index: usize,
        temporary: &str,
        content: Fingerprint,
    ) -> Result<(), ShipError> {
        let output = &self.plan.outputs[index];
        let path = output.final_path();
        let how = publish(&*self.tools.destination, temporary, &path, content).await?;
        let (records, already) = (output.records, how == Published::Already);
        tracing::info!(%path, records, bytes = content.bytes, already, "published");
        self.tools.metrics.published(content.bytes);
        Ok(())
    }

    /// Deletes the segments, unless their names are another WAL's by now, and then the plan.
    async fn delete(&mut self) -> Result<(), ShipError> {
        let (tools, plan) = (self.tools.clone(), Arc::clone(&self.plan));
        tokio::task::spawn_blocking(move || -> Result<(), ShipError> {
            let is_own = |name: &SegmentName| !is_foreign(&tools.layout, &plan, *name);
            for segment in plan.damaged.iter().filter(|segment| is_own(&segment.name)) {
                quarantine::quarantine(&tools.layout, &plan, segment)?;
            }
            if let Some(partitions) = &tools.open_partitions {
                partitions.note(&plan)?;
            }
            sealed::delete(&tools.layout, plan.segments.iter().copied().filter(is_own))?;
            tools.journal.remove(&plan)?;
            Ok(())
        })
        .await??;
        self.tools.metrics.shipped(&self.plan);
        Ok(())
    }
}
