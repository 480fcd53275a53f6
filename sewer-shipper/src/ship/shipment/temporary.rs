//! Temporary files: which there may be is remembered in the plan, and they are removed by name. A
//! partition is never listed for it, for it may have very many files.

use std::time::Duration;

use tokio::time::Instant;

use super::Shipment;
use crate::plan::Attempts;
use crate::ship::ShipError;

/// The time for which calls of a process may still be carried out after its end.
const LATE: Duration = Duration::from_mins(1);

impl Shipment {
    /// Removes what earlier attempts at an output left.
    pub(super) async fn clean(&mut self, index: usize) -> Result<(), ShipError> {
        if self.progress[index].is_clean {
            return Ok(());
        }
        let output = self.plan.outputs[index].clone();
        let Some(Attempts { first, last }) = output.attempts else {
            return self.clean_by_listing(index).await;
        };
        for attempt in first..=last {
            self.remove(&output.temporary_path(attempt)).await?;
        }
        self.progress[index].is_clean = true;
        Ok(())
    }

    /// Does the same for the plan of an earlier build, which does not remember its attempts.
    async fn clean_by_listing(&mut self, index: usize) -> Result<(), ShipError> {
        let output = self.plan.outputs[index].clone();
        let mut last = 0;
        let mut entries = self.tools.destination.list(&output.directory).await?;
        while let Some(entry) = entries.next().await {
            if let Some(attempt) = output.attempt_of(&entry?.name) {
                last = last.max(attempt);
                self.remove(&output.temporary_path(attempt)).await?;
            }
        }
        let none = Attempts { first: last.saturating_add(1), last };
        self.amend(|plan| plan.outputs[index].attempts = Some(none)).await?;
        self.progress[index].is_clean = true;
        Ok(())
    }

    async fn remove(&self, path: &str) -> Result<(), ShipError> {
        if self.tools.destination.delete(path).await? {
            tracing::info!(path, "removed what an earlier attempt left");
        }
        Ok(())
    }

    /// The temporary name of the next attempt, once the plan remembers it. All earlier ones were
    /// just removed.
    pub(super) async fn begin_attempt(&mut self, index: usize) -> Result<String, ShipError> {
        let now = Instant::now();
        let progress = &mut self.progress[index];
        let attempts = self.plan.outputs[index].attempts.unwrap_or(Attempts { first: 1, last: 0 });
        let attempt = if std::mem::take(&mut progress.is_reserved) {
            attempts.last
        } else {
            let next = attempts.last.saturating_add(1);
            // One whose creation got no answer may still come to be.
            let may_come_late = progress.late_until.is_some_and(|until| now < until)
                || self.taken_up.is_some_and(|at| now.duration_since(at) < LATE);
            let first = if may_come_late { attempts.first } else { next };
            let noted = Attempts { first, last: next };
            self.amend(|plan| plan.outputs[index].attempts = Some(noted)).await?;
            next
        };
        Ok(self.plan.outputs[index].temporary_path(attempt))
    }

    pub(super) async fn wait_for_late_file(&mut self, index: usize) {
        if let Some(until) = self.progress[index].late_until.take() {
            tokio::time::sleep_until(until).await;
        }
    }
}
