//! The plans on disk: `<shipper.dir>/shipments/<first>-<last>.json`, written durably before the
//! first byte of output and removed after the last segment is deleted.

use std::fs;
use std::path::{Path, PathBuf};

use sewer_wal::layout::{create_dir_durably, remove_durably, sync_dir, write_durably};
use sewer_wal::{WalError, WalId};
use thiserror::Error;

use crate::plan::Plan;

/// Why the journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A file or directory cannot be read or written.
    #[error(transparent)]
    Disk(#[from] WalError),
    /// As [`JournalError::Disk`], while looking.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is no plan of this build.
    #[error("{} is not a plan that this build can carry out: {problem}; move it away only if its segments are shipped", path.display())]
    BadPlan {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The directory of the plans of one WAL.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Opens the journal below `shipper_dir`, making both if needed; the parent must exist.
    ///
    /// # Errors
    /// If a directory cannot be made.
    pub fn open(shipper_dir: &Path) -> Result<Self, JournalError> {
        create_dir_durably(shipper_dir)?;
        let dir = shipper_dir.join("shipments");
        create_dir_durably(&dir)?;
        // A shipper that was killed between a rename and its sync left a plan that a power cut
        // could still take back, after its first output is published: then another plan would be
        // made for the same segments.
        sync_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Opens the journal for draining the WAL of another node: its LSNs are not ours.
    ///
    /// # Errors
    /// If a directory cannot be made.
    pub fn open_for(shipper_dir: &Path, wal_id: WalId) -> Result<Self, JournalError> {
        create_dir_durably(shipper_dir)?;
        Self::open(&shipper_dir.join(format!("replay-{wal_id}")))
    }

    /// The plans that are not finished, oldest first.
    ///
    /// # Errors
    /// [`JournalError::BadPlan`] for a file that is none; nothing is skipped silently.
    pub fn load(&self, wal_id: WalId) -> Result<Vec<Plan>, JournalError> {
        let read = |path: &Path, source| JournalError::Read { path: path.to_path_buf(), source };
        let mut plans = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| read(&self.dir, e))? {
            let path = entry.map_err(|e| read(&self.dir, e))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue; // what a crash left of writing a plan
            }
            let text = fs::read(&path).map_err(|e| read(&path, e))?;
            plans.push(parse(&path, &text, wal_id)?);
        }
        plans.sort_unstable_by_key(|plan| plan.first_lsn);
        Ok(plans)
    }

    /// Writes a plan durably, replacing an earlier state of the same plan.
    ///
    /// # Errors
    /// If the disk refuses; the earlier state is then still there.
    pub fn store(&self, plan: &Plan) -> Result<(), JournalError> {
        let mut text = serde_json::to_vec_pretty(plan).expect("a plan has only plain keys");
        text.push(b'\n');
        Ok(write_durably(&self.path(plan), &text)?)
    }

    /// Removes a finished plan durably.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, plan: &Plan) -> Result<(), JournalError> {
        remove_durably(&self.path(plan))?;
        Ok(())
    }

    fn path(&self, plan: &Plan) -> PathBuf {
        self.dir.join(plan.file_name())
    }
}

fn parse(path: &Path, text: &[u8], wal_id: WalId) -> Result<Plan, JournalError> {
    let bad = |problem: String| JournalError::BadPlan { path: path.to_path_buf(), problem };
    let plan: Plan = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
    if !plan.is_known() {
        return Err(bad(format!("it has version {}", plan.version)));
    }
    if plan.wal_id != wal_id {
        return Err(bad(format!("it is for the WAL {}, not for {wal_id}", plan.wal_id)));
    }
    if path.file_name().is_none_or(|name| name != plan.file_name().as_str()) {
        return Err(bad(format!("its content belongs into {}", plan.file_name())));
    }
    Ok(plan)
}
