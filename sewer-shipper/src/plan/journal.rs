//! The plans on disk, `<shipper.dir>/shipments/<first>-<last>.json`; where segments carry the WAL's
//! id in their names, so does the plan: `<first>-<last>-<id>.json`. A plan is written durably
//! before the first byte of output and removed after the last segment is deleted.

use std::fs;
use std::path::{Path, PathBuf};

use sewer_wal::durable::{create_dir_durably, remove_durably, sync_dir, write_durably};
use sewer_wal::{Identity, WalError};
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
    /// The file of the open partitions is none.
    #[error("{} is no list of open partitions: {problem}; remove it, and the partitions in it get no marker", path.display())]
    BadPartitions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
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
        // A shipper that was killed between a rename and its sync left a plan that a power cut
        // could still take back, after its first output is published: then another plan would be
        // made for the same segments.
        sync_dir(&dir)?;
        remove_unfinished(&dir)?;
        let journal = Self { dir, reserve };
        journal.hold_reserve();
        Ok(journal)
    }

    /// What stands for `shipper_dir` with a WAL that is not the configured one: its LSNs are
    /// others.
    pub fn dir_for(shipper_dir: &Path, identity: &Identity, is_own: bool) -> PathBuf {
        if is_own {
            return shipper_dir.to_owned();
        }
        let dir = |id| shipper_dir.join(format!("replay-{id}"));
        // A replay that was interrupted may have been that of an earlier identity.
        let mut begun = identity.earlier.iter().copied().map(dir);
        let of_current = dir(identity.id);
        if of_current.exists() {
            of_current
        } else {
            begun.find(|d| d.exists()).unwrap_or(of_current)
        }
    }

    /// The plans that are not finished, oldest first, without making or holding anything.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn look(shipper_dir: &Path, identity: &Identity) -> Result<Vec<Plan>, JournalError> {
        let (dir, reserve) = (shipper_dir.join("shipments"), shipper_dir.join("reserve"));
        let journal = Self { dir, reserve };
        if journal.dir.exists() { journal.load(identity) } else { Ok(Vec::new()) }
    }

    /// The plans that are not finished, of every WAL that `identity` owns; of each, oldest first.
    ///
    /// # Errors
    /// [`JournalError::BadPlan`] for a file that is none; nothing is skipped silently.
    pub fn load(&self, identity: &Identity) -> Result<Vec<Plan>, JournalError> {
        let mut plans = Vec::new();
        for path in paths(&self.dir)? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue; // nothing of ours
            }
            let text = match fs::read(&path) {
                Ok(text) => text,
                // Finished by a shipper beside which somebody only looks.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(read_error(&path, e)),
            };
            plans.push(parse(&path, &text, identity)?);
        }
        plans.sort_unstable_by_key(|plan| (plan.first_lsn, plan.wal_id));
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

/// Removes what a crash left of writing plans: of their shipments nothing has begun, and the next
/// plan, which may span more segments, has another name and would not replace it.
fn remove_unfinished(dir: &Path) -> Result<(), JournalError> {
    for path in paths(dir)? {
        if path.to_string_lossy().ends_with(".json.tmp") {
            remove_durably(&path)?;
        }
    }
    Ok(())
}

fn paths(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = fs::read_dir(dir).map_err(|e| read_error(dir, e))?;
    entries.map(|entry| Ok(entry.map_err(|e| read_error(dir, e))?.path())).collect()
}

fn read_error(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Read { path: path.to_path_buf(), source }
}

fn parse(path: &Path, text: &[u8], identity: &Identity) -> Result<Plan, JournalError> {
    let bad = |problem: String| JournalError::BadPlan { path: path.to_path_buf(), problem };
    let plan: Plan = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
    if !plan.is_known() {
        return Err(bad(format!("it has version {}", plan.version)));
    }
    if !identity.owns(plan.wal_id) {
        return Err(bad(format!("it is for the WAL {}, not for {}", plan.wal_id, identity.id)));
    }
    if path.file_name().is_none_or(|name| name != plan.file_name().as_str()) {
        return Err(bad(format!("its content belongs into {}", plan.file_name())));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sewer_wal::WalId;

    #[test]
    fn a_plan_that_was_cut_while_it_was_written_is_removed_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let foreign = journal.dir.join("README");
        for path in [&journal.dir.join("0-1.json.tmp"), &foreign] {
            fs::write(path, "{").unwrap();
        }
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(paths(&journal.dir).unwrap(), [foreign]);
        assert_eq!(journal.load(&Identity::new(WalId(1))).unwrap(), []);
    }
}
