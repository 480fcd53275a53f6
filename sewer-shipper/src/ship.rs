//! One shipment, from plan to deletion: write, confirm, publish, delete.
//!
//! Every step can be cut anywhere and is taken up again by [`Shipment::run`]. What decides is what
//! is found: a final name with the length that the plan yields is done; hidden temporary names are
//! removed and written anew. Segments are deleted only once the journal says, durably, that every
//! output is published; a segment that is missing earlier is never taken for a shipped one.

use std::sync::Arc;

use bytes::Bytes;
use sewer_wal::{Layout, Lsn, WalError, sealed};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::destination::{
    CreateOptions, Destination, DestinationError, Kind, Lowered, Published, publish,
};
use crate::encode::{EncodeError, encode};
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::plan::{OutputPlan, Plan, PlanError};
use crate::quarantine;

/// How many chunks may wait between encoding and the destination.
const CHUNKS_AHEAD_MAX: usize = 2;

/// Why a shipment stopped; it can be run again.
#[derive(Debug, Error)]
pub enum ShipError {
    /// The destination failed.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The segments could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Segments could not be deleted or quarantined.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// What the destination confirmed is not what was encoded.
    #[error("{path} was closed with {closed} bytes instead of {encoded}")]
    Length {
        /// The file.
        path: String,
        /// What the destination says.
        closed: u64,
        /// What was encoded.
        encoded: u64,
    },
    /// A segment of an unpublished shipment is gone.
    #[error(
        "the segments {missing:?} of the shipment {plan} have vanished before it was published; put them back, or move the plan away to ship the rest"
    )]
    Vanished {
        /// The plan's file name.
        plan: String,
        /// The bases that are missing.
        missing: Vec<Lsn>,
    },
    /// A task panicked.
    #[error("a task of the shipment ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ShipError {
    /// A short stable label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Destination(error) => error.reason(),
            Self::Encode(EncodeError::Changed { .. }) => "changed",
            Self::Encode(_) | Self::Wal(_) => "wal",
            Self::Journal(_) => "journal",
            Self::Length { .. } => "length",
            Self::Vanished { .. } => "vanished",
            Self::Task(_) => "task",
        }
    }

    /// Whether a person has to act before a retry can succeed.
    pub fn needs_a_human(&self) -> bool {
        match self {
            Self::Destination(error) => error.needs_a_human(),
            Self::Vanished { .. } => true,
            _ => false,
        }
    }

    /// Whether the plan no longer fits its segments.
    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Encode(EncodeError::Changed { .. }))
    }

    /// The segment that cannot be read to its end, if that is why.
    pub fn unreadable_segment(&self) -> Option<Lsn> {
        match self {
            Self::Encode(EncodeError::Plan(PlanError::Segment { base, .. })) => Some(*base),
            _ => None,
        }
    }
}

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
}

/// A shipment under way.
#[derive(Debug)]
pub struct Shipment {
    plan: Arc<Plan>,
    tools: Tools,
    /// Per output: whether it is published, and how it has to be written.
    progress: Vec<Progress>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    published: bool,
    /// Whether this process has looked for what an earlier attempt left.
    is_clean: bool,
    attempt: u32,
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
            for index in 0..self.plan.outputs.len() {
                if !self.progress[index].published {
                    self.deliver(index).await?;
                }
            }
            let mut plan = Plan::clone(&self.plan);
            plan.published = true;
            self.tools.journal.store(&plan)?;
            self.plan = Arc::new(plan);
        }
        self.delete().await
    }

    async fn check_segments(&self) -> Result<(), ShipError> {
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let missing = tokio::task::spawn_blocking(move || -> Result<Vec<Lsn>, WalError> {
            let there = layout.sealed_bases()?;
            Ok(plan.segments.iter().copied().filter(|base| !there.contains(base)).collect())
        })
        .await??;
        if missing.is_empty() {
            return Ok(());
        }
        Err(ShipError::Vanished { plan: self.plan.file_name(), missing })
    }

    /// Writes and publishes one output, unless that has happened.
    async fn deliver(&mut self, index: usize) -> Result<(), ShipError> {
        let output = self.plan.outputs[index].clone();
        if !self.progress[index].is_clean && self.is_there(&output).await? {
            self.clean(index, &output).await?;
        } else {
            self.clean(index, &output).await?;
            let length = self.write(index, &output).await?;
            self.publish(index, &output, length).await?;
        }
        self.progress[index].published = true;
        Ok(())
    }

    /// Whether the final name is there and complete, written before this process knew of it.
    async fn is_there(&self, output: &OutputPlan) -> Result<bool, ShipError> {
        let path = output.final_path();
        let Some(length) = self.tools.destination.length(&path).await? else { return Ok(false) };
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let planned = output.clone();
        // The plan is a pure function, so its length is known without writing it again.
        let expected =
            tokio::task::spawn_blocking(move || encode(&layout, &plan, &planned, |_| true))
                .await??;
        if length == expected {
            // Seen is not yet durable: whoever renamed it may not have come to say so.
            self.tools.destination.settle(&path).await?;
            return Ok(true);
        }
        // Somebody else's, or damaged at the destination: reported, never overwritten.
        let temporary = output.temporary_path(0);
        publish(&*self.tools.destination, &temporary, &path, expected).await?;
        Ok(true)
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
        if let Err(ShipError::Destination(error)) = &written
            && error.fewer_replicas_may_help()
        {
            self.lower_replication(index, &temporary).await;
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

    async fn lower_replication(&mut self, index: usize, temporary: &str) {
        match self.tools.destination.lower_replication(temporary).await {
            Ok(Some(lowered)) => {
                let first = self.progress[index].lowered.map_or(lowered.from, |first| first.from);
                self.progress[index].lowered = Some(Lowered { from: first, to: lowered.to });
                let (from, to) = (first, lowered.to);
                tracing::warn!(from, to, "trying with fewer replicas; restored once published");
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "cannot tell the replication"),
        }
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
        if let Some(lowered) = self.progress[index].lowered
            && let Err(error) =
                self.tools.destination.restore_replication(&path, lowered.from).await
        {
            tracing::warn!(%path, %error, "published, but with fewer replicas than configured");
        }
        let (records, already) = (output.records, how == Published::Already);
        tracing::info!(%path, records, bytes = length, already, "published");
        self.tools.metrics.published(length);
        Ok(())
    }

    /// Deletes the segments and then the plan.
    async fn delete(&mut self) -> Result<(), ShipError> {
        let (tools, plan) = (self.tools.clone(), Arc::clone(&self.plan));
        tokio::task::spawn_blocking(move || -> Result<(), ShipError> {
            for segment in &plan.damaged {
                quarantine::quarantine(&tools.layout, &plan, segment)?;
            }
            sealed::delete(&tools.layout, plan.segments.iter().copied())?;
            tools.journal.remove(&plan)?;
            Ok(())
        })
        .await??;
        self.tools.metrics.shipped(&self.plan);
        Ok(())
    }

    /// Whether anything of the shipment has its final name.
    ///
    /// # Errors
    /// If the destination cannot tell.
    pub async fn has_published(&self) -> Result<bool, DestinationError> {
        for output in &self.plan.outputs {
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
    ///
    /// # Errors
    /// [`ShipError`]; the plan then stays.
    pub async fn withdraw(&mut self) -> Result<(), ShipError> {
        for index in 0..self.plan.outputs.len() {
            let output = self.plan.outputs[index].clone();
            self.progress[index].is_clean = false;
            self.clean(index, &output).await?;
        }
        Ok(self.tools.journal.remove(&self.plan)?)
    }
}
