//! The plans on disk: `<shipper.dir>/shipments/<first>-<last>.json`, written durably before the
//! first byte of output and removed after the last segment is deleted.

use std::fs;
use std::path::{Path, PathBuf};

use sewer_wal::layout::{create_dir_durably, remove_durably, write_durably};
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
    #[error("read {}: {cause}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
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

/// The size of the file that is given up when the disk is full, so that a plan can be written.
const RESERVE_BYTES: usize = 64 << 10;

/// The directory of the plans of one WAL.
///
/// Only shipping frees a full disk, and shipping needs a plan. So a file is held in reserve
/// (`<shipper.dir>/reserve`): it is removed when a plan does not fit, and made again when there is
/// space.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
    reserve: PathBuf,
}

impl Journal {
    /// Opens the journal below `shipper_dir`, making both if needed; the parent must exist.
    ///
    /// # Errors
    /// If a directory cannot be made.
    pub fn open(shipper_dir: &Path) -> Result<Self, JournalError> {
        create_dir_durably(shipper_dir)?;
        let (dir, reserve) = (shipper_dir.join("shipments"), shipper_dir.join("reserve"));
        create_dir_durably(&dir)?;
        let journal = Self { dir, reserve };
        journal.hold_reserve();
        Ok(journal)
    }

    /// Opens the journal for draining the WAL of another node: its LSNs are not ours.
    ///
    /// # Errors
    /// If a directory cannot be made.
    pub fn open_for(shipper_dir: &Path, wal_id: WalId) -> Result<Self, JournalError> {
        create_dir_durably(shipper_dir)?;
        Self::open(&Self::dir_for(shipper_dir, wal_id))
    }

    /// What stands for `shipper_dir` while the WAL of another node is drained.
    pub fn dir_for(shipper_dir: &Path, wal_id: WalId) -> PathBuf {
        shipper_dir.join(format!("replay-{wal_id}"))
    }

    /// The plans that are not finished, oldest first, without making or holding anything.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn look(shipper_dir: &Path, wal_id: WalId) -> Result<Vec<Plan>, JournalError> {
        let (dir, reserve) = (shipper_dir.join("shipments"), shipper_dir.join("reserve"));
        let journal = Self { dir, reserve };
        if journal.dir.exists() { journal.load(wal_id) } else { Ok(Vec::new()) }
    }

    /// The plans that are not finished, oldest first.
    ///
    /// # Errors
    /// [`JournalError::BadPlan`] for a file that is none; nothing is skipped silently.
    pub fn load(&self, wal_id: WalId) -> Result<Vec<Plan>, JournalError> {
        let read = |path: &Path, cause| JournalError::Read { path: path.to_path_buf(), cause };
        let mut plans = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| read(&self.dir, e))? {
            let path = entry.map_err(|e| read(&self.dir, e))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue; // what a crash left of writing a plan
            }
            let text = match fs::read(&path) {
                Ok(text) => text,
                // Finished by a shipper beside which somebody only looks.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(read(&path, e)),
            };
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
        let path = self.path(plan);
        match write_durably(&path, &text) {
            Err(e) if e.is_disk_full() && remove_durably(&self.reserve)? => {
                tracing::warn!("the disk is full; writing the plan into the reserve");
                Ok(write_durably(&path, &text)?)
            }
            result => Ok(result?),
        }
    }

    /// Makes the reserve if it is not there. Without space there is none; that is tried again.
    fn hold_reserve(&self) {
        if self.reserve.exists() {
            return;
        }
        if let Err(error) = write_durably(&self.reserve, &vec![0; RESERVE_BYTES]) {
            tracing::debug!(%error, "no space for the reserve");
        }
    }

    /// Removes a finished plan durably.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, plan: &Plan) -> Result<(), JournalError> {
        remove_durably(&self.path(plan))?;
        self.hold_reserve();
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
