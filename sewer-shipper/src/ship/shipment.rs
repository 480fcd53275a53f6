//! One shipment, from plan to deletion: write, confirm, publish, delete.
//!
//! Every step can be cut anywhere and is taken up again by [`Shipment::run`]. What decides is what
//! is found: a final name with the length that the plan yields is done; hidden temporary names are
//! removed and written anew. Segments are deleted only once the journal says, durably, that every
//! output is published; a segment that is missing earlier is never taken for a shipped one.

use std::sync::Arc;

use bytes::Bytes;
use sewer_wal::{Layout, SegmentName, WalError, sealed};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::destination::{
    CreateOptions, Destination, DestinationError, Kind, Lowered, Published, publish,
};
use crate::metrics::Metrics;
use crate::plan::journal::Journal;
use crate::plan::{OutputPlan, Plan, is_foreign};
use crate::ship::ShipError;
use crate::ship::done_marker::OpenPartitions;
use crate::ship::encode::{EncodeError, encode};
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
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// Whether this process has looked for what an earlier attempt left.
    is_clean: bool,
    attempt: u32,
    /// Whether an attempt has failed here.
    has_failed: bool,
    /// Until when a temporary file may come to be whose creation got no answer.
    late_until: Option<Instant>,
    lowered: Option<Lowered>,
}

impl Shipment {
    /// Takes up a plan. `is_new`: it was made just now, so that nothing of it can exist yet.
    pub fn new(plan: Plan, is_new: bool, tools: Tools) -> Self {
        let fresh = Progress { is_clean: is_new, ..Progress::default() };
        Self { progress: vec![fresh; plan.outputs.len()], plan: Arc::new(plan), tools }
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
            while let Some(index) = self.next_output() {
                let length = self.deliver(index).await?;
                self.amend(|plan| plan.outputs[index].published = Some(length)).await?;
            }
            if !self.plan.published {
                // Nothing is left of its events.
                self.amend(|_| {}).await?;
            }
        }
        self.delete().await
    }

    fn next_output(&self) -> Option<usize> {
        self.plan.outputs.iter().position(|output| output.published.is_none())
    }

    /// Changes the plan, durably. It is published once its last output is.
    async fn amend(&mut self, change: impl FnOnce(&mut Plan)) -> Result<(), ShipError> {
        let mut plan = Plan::clone(&self.plan);
        change(&mut plan);
        plan.published = plan.outputs.iter().all(|output| output.published.is_some());
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

    /// Writes and publishes one output, unless that has happened; returns its length.
    async fn deliver(&mut self, index: usize) -> Result<u64, ShipError> {
        let output = self.plan.outputs[index].clone();
        let found = if self.progress[index].is_clean {
            None
        } else {
            let found = self.found(&output).await;
            if found.as_ref().is_err_and(ShipError::is_conflict) {
                // The name may stay taken for long, and what was written for it is of no use then.
                self.clean(index, &output).await?;
                self.progress[index].is_clean = false;
            }
            found?
        };
        self.clean(index, &output).await?;
        let length = if let Some(length) = found {
            length
        } else {
            let length = self.write(index, &output).await?;
            self.publish(index, &output, length).await?;
            length
        };
        if self.progress[index].has_failed {
            // A call that got no answer may have been carried out late, after the last look; and
            // once the plan is gone, nobody looks again.
            self.wait_for_late_file(index).await;
            self.clean(index, &output).await?;
        }
        if let Some(replication) = self.plan.outputs[index].replication {
            let path = output.final_path();
            self.tools.destination.restore_replication(&path, replication).await?;
            tracing::info!(%path, replication, "restored the replication; HDFS makes the copies");
        }
        Ok(length)
    }

    async fn wait_for_late_file(&mut self, index: usize) {
        if let Some(until) = self.progress[index].late_until {
            tokio::time::sleep_until(until).await;
            self.progress[index].late_until = None;
            self.progress[index].is_clean = false;
        }
    }

    /// The length of the final file if it is there and complete, written before this process knew
    /// of it.
    async fn found(&self, output: &OutputPlan) -> Result<Option<u64>, ShipError> {
        let path = output.final_path();
        let Some(length) = self.tools.destination.length(&path).await? else { return Ok(None) };
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let planned = output.clone();
        // The plan is a pure function, so its length is known without writing it again.
        let expected =
            tokio::task::spawn_blocking(move || encode(&layout, &plan, &planned, |_| true))
                .await??;
        if length == expected {
            // Seen is not yet durable: whoever renamed it may not have come to say so.
            self.tools.destination.settle(&path).await?;
        } else {
            // Somebody else's, or damaged at the destination: reported, never overwritten.
            let temporary = output.temporary_path(0);
            publish(&*self.tools.destination, &temporary, &path, expected).await?;
        }
        Ok(Some(expected))
    }

    /// Removes what earlier attempts at an output left, and chooses an attempt number that is new.
    async fn clean(&mut self, index: usize, output: &OutputPlan) -> Result<(), ShipError> {
        if self.progress[index].is_clean {
            return Ok(());
        }
        for entry in self.tools.destination.list(&output.directory).await? {
            let Some(attempt) = output.attempt_of(&entry.name) else { continue };
            self.progress[index].attempt = self.progress[index].attempt.max(attempt);
            let path = format!("{}/{}", output.directory, entry.name);
            self.tools.destination.delete(&path).await?;
            tracing::info!(%path, "removed what an earlier attempt left");
        }
        self.progress[index].is_clean = true;
        Ok(())
    }

    /// Writes an output under a new temporary name and returns its confirmed length.
    async fn write(&mut self, index: usize, output: &OutputPlan) -> Result<u64, ShipError> {
        let progress = &mut self.progress[index];
        progress.attempt = progress.attempt.saturating_add(1);
        // Until it is published, a failure leaves something behind.
        progress.is_clean = false;
        let temporary = output.temporary_path(progress.attempt);
        let options = CreateOptions { replication: progress.lowered.map(|lowered| lowered.to) };
        let written = self.stream(output, &temporary, options).await;
        self.progress[index].has_failed |= written.is_err();
        if let Err(ShipError::Destination(error)) = &written {
            if let Some(within) = error.may_be_created_within() {
                self.progress[index].late_until = Some(Instant::now() + within);
            }
            if error.fewer_replicas_may_help() {
                self.lower_replication(index, &temporary).await?;
            }
        }
        written
    }

    /// Encodes on a thread of its own while the destination takes what is ready.
    async fn stream(
        &self,
        output: &OutputPlan,
        temporary: &str,
        options: CreateOptions,
    ) -> Result<u64, ShipError> {
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
        if closed != encoded {
            return Err(ShipError::Length { path: temporary.to_owned(), closed, encoded });
        }
        Ok(closed)
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
        output: &OutputPlan,
        length: u64,
    ) -> Result<(), ShipError> {
        let temporary = output.temporary_path(self.progress[index].attempt);
        let path = output.final_path();
        let how = publish(&*self.tools.destination, &temporary, &path, length).await?;
        let (records, already) = (output.records, how == Published::Already);
        tracing::info!(%path, records, bytes = length, already, "published");
        self.tools.metrics.published(length);
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

    /// Makes the plan fit segments that were damaged since it was made: it is withdrawn, so that
    /// another one is made, or, with a part of it published, amended for the rest. `true` if the
    /// shipment is withdrawn.
    ///
    /// # Errors
    /// [`ShipError`]; the plan then stays as it is.
    pub async fn reconsider(&mut self) -> Result<bool, ShipError> {
        if !self.has_published().await? {
            self.withdraw().await?;
            return Ok(true);
        }
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let amended = tokio::task::spawn_blocking(move || plan.amended(&layout)).await?;
        let amended = amended.map_err(EncodeError::from)?;
        // An output of which nothing is left may have left something.
        for index in 0..self.plan.outputs.len() {
            let output = self.plan.outputs[index].clone();
            if output.published.is_none() {
                self.progress[index].is_clean = false;
                self.clean(index, &output).await?;
            }
        }
        self.progress = vec![Progress::default(); amended.outputs.len()];
        self.amend(|plan| *plan = amended).await?;
        Ok(false)
    }

    async fn has_published(&self) -> Result<bool, DestinationError> {
        for output in &self.plan.outputs {
            if output.published.is_some() {
                return Ok(true);
            }
            match self.tools.destination.length(&output.final_path()).await {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(true),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Gives up the plan so that another is made: removes what it left, then the plan. Only for a
    /// plan of which nothing is published.
    async fn withdraw(&mut self) -> Result<(), ShipError> {
        for index in 0..self.plan.outputs.len() {
            let output = self.plan.outputs[index].clone();
            self.progress[index].is_clean = false;
            self.clean(index, &output).await?;
        }
        Ok(self.tools.journal.remove(&self.plan)?)
    }
}
