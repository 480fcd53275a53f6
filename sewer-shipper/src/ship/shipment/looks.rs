//! Looking at what the destination has, before it is written to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shipment;
use crate::destination::{DestinationError, Kind, is_published};
use crate::plan::FileName;
use crate::ship::ShipError;
use crate::ship::encode::encode;

impl Shipment {
    /// Tells whether the final file is there, complete and ours, written before this process knew
    /// of it.
    pub(super) async fn is_found(&self, index: usize) -> Result<bool, ShipError> {
        let output = &self.plan.outputs[index];
        let path = output.final_path();
        if self.tools.destination.length(&path).await?.is_none() {
            return Ok(false);
        }
        let content = if let Some(confirmed) = output.confirmed {
            confirmed
        } else {
            // Of an earlier build, or shipped from a copy of this disk. A plan is a pure function,
            // so its content is known without writing it again.
            let (layout, plan) = (self.tools.layout.clone(), Arc::clone(&self.plan));
            let planned = output.clone();
            tokio::task::spawn_blocking(move || encode(&layout, &plan, &planned, |_| true))
                .await??
        };
        let is_there = is_published(&*self.tools.destination, &path, content).await?;
        if is_there {
            tracing::info!(%path, bytes = content.bytes, "found, published earlier");
        }
        Ok(is_there)
    }

    /// Looks whether the destination has events of the plan in other files, as when this disk is a
    /// copy of one that has shipped them.
    ///
    /// # Errors
    /// [`ShipError::Elsewhere`] if it has.
    pub(super) async fn look_for_others(&self) -> Result<(), ShipError> {
        let (own, range) = (self.plan.output_name(), self.plan.output_name().range());
        let mut others = BTreeSet::new();
        for output in &self.plan.outputs {
            let mut entries = self.tools.destination.list(&output.directory).await?;
            while let Some(entry) = entries.next().await {
                let Some(file) = FileName::parse(&entry?.name) else { continue };
                let is_apart = file.last < range.first || file.first >= range.end;
                if file.wal_id == own.wal_id && !is_apart && file != own {
                    others.insert(file);
                }
            }
        }
        if others.is_empty() { Ok(()) } else { Err(ShipError::Elsewhere { files: others }) }
    }

    /// Tells whether anything of the plan has a final name.
    pub(super) async fn has_published(&self) -> Result<bool, DestinationError> {
        for output in &self.plan.outputs {
            if output.published {
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
}
