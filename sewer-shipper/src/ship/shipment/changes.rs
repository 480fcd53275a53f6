//! A plan that no longer fits its segments, or what the destination has.

use std::sync::Arc;

use super::{Progress, Shipment};
use crate::ship::ShipError;
use crate::ship::encode::EncodeError;

impl Shipment {
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
        for index in 0..self.plan.outputs.len() {
            let output = &self.plan.outputs[index];
            // What was confirmed before the damage came may have its final name already.
            let is_confirmed = !output.published && output.confirmed.is_some();
            if is_confirmed && self.is_found(index).await? {
                self.amend(|plan| plan.outputs[index].published = true).await?;
            }
        }
        let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
        let amended = tokio::task::spawn_blocking(move || plan.amended(&layout)).await?;
        let amended = amended.map_err(EncodeError::from)?;
        // An output of which nothing is left may have left something.
        for index in 0..self.plan.outputs.len() {
            if !self.plan.outputs[index].published {
                self.progress[index].is_clean = false;
                self.clean(index).await?;
            }
        }
        self.progress = vec![Progress::new(false); amended.outputs.len()];
        self.amend(|plan| *plan = amended).await?;
        Ok(false)
    }

    /// Gives up the plan so that another is made: removes what it left, then the plan. Only for a
    /// plan of which nothing is published.
    ///
    /// # Errors
    /// [`ShipError`]; it can be done again.
    pub async fn withdraw(&mut self) -> Result<(), ShipError> {
        for index in 0..self.plan.outputs.len() {
            self.progress[index].is_clean = false;
            self.clean(index).await?;
        }
        Ok(self.tools.journal.remove(&self.plan)?)
    }
}
