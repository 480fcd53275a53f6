//! The plans on disk, `<wal.dir>/shipments/<first>-<last>.json`; where segments carry the WAL's id
//! in their names, so does the plan: `<first>-<last>-<id>.json`. A plan is written durably before
//! the first byte of output and removed after the last segment is deleted.
//!
//! They lie beside the segments, because they go with them: a disk that is moved, copied or
//! restored brings what was half done. `host.json` beside them says whose events these are.
//!
//! A plan that cannot be read holds back the LSNs that its name tells, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sewer_wal::durable::{create_dir_durably, remove_durably, sync_dir, write_durably};
use sewer_wal::{Identity, Layout, WalError};
use thiserror::Error;

use super::found::{DamagedPlan, Found};
use super::{Plan, decode, encode, upgrade};

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
}

/// The size of the file that is given up when the disk is full, so that a plan can be written.
const RESERVE_BYTES: usize = 64 << 10;

/// The name of the note that says which node recorded the events.
const HOST: &str = "host.json";

/// The directory of the plans of one WAL.
///
/// Only shipping frees a full disk, and shipping needs a plan. So a file is held in reserve
/// (`reserve`): it is removed when a plan does not fit, and made again when there is space.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

/// The content of [`HOST`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    host: String,
}

impl Journal {
    /// Opens the journal of a WAL, making its directory if needed.
    ///
    /// # Errors
    /// If the directory cannot be made or listed.
    pub fn open(layout: &Layout) -> Result<Self, JournalError> {
        let journal = Self::of(layout);
        create_dir_durably(&journal.dir)?;
        // A shipper that was killed between a rename and its sync left a plan that a power cut
        // could still take back, after its first output is published: then another plan would be
        // made for the same segments.
        sync_dir(&journal.dir)?;
        remove_unfinished(&journal.dir)?;
        journal.hold_reserve();
        Ok(journal)
    }

    /// The journal of a WAL, to look at.
    pub fn of(layout: &Layout) -> Self {
        Self { dir: layout.shipments_dir() }
    }

    /// Takes over what earlier builds have kept in `shipper_dir`, once.
    ///
    /// # Errors
    /// If a disk refuses; it can be done again.
    pub fn take_over(
        &self,
        shipper_dir: &Path,
        identity: &Identity,
        is_own: bool,
    ) -> Result<(), JournalError> {
        upgrade::take_over(self, shipper_dir, identity, is_own)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The plans that are not finished, of every WAL that `identity` owns, and what cannot be read.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn load(&self, identity: &Identity) -> Result<Found, JournalError> {
        let mut found = Found::default();
        if !self.dir.exists() {
            return Ok(found);
        }
        for path in paths(&self.dir)? {
            found.look_at(path, |bytes| parse(bytes, identity));
        }
        found.plans.sort_unstable_by_key(|plan| (plan.first_lsn, plan.wal_id));
        Ok(found)
    }

    /// The plans of [`Self::load`], with those that an earlier build has left in `shipper_dir`.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn look(
        &self,
        shipper_dir: &Path,
        identity: &Identity,
        is_own: bool,
    ) -> Result<Found, JournalError> {
        let mut found = self.load(identity)?;
        upgrade::look(&mut found, shipper_dir, identity, is_own)?;
        Ok(found)
    }

    /// Looks again at a plan that was damaged: `None` if it is gone.
    ///
    /// # Errors
    /// The plan, as long as it still is.
    pub fn look_again(
        &self,
        damaged: &DamagedPlan,
        identity: &Identity,
    ) -> Result<Option<Plan>, DamagedPlan> {
        let mut found = Found::default();
        found.look_at(damaged.path.clone(), |bytes| parse(bytes, identity));
        match found.damaged.pop() {
            Some(damaged) => Err(damaged),
            None => Ok(found.plans.pop()),
        }
    }

    /// Writes a plan durably, replacing an earlier state of the same plan.
    ///
    /// # Errors
    /// If the disk refuses; the earlier state is then still there.
    pub fn store(&self, plan: &Plan) -> Result<(), JournalError> {
        self.write(&plan.file_name(), &plan.encode())
    }

    /// Writes a file beside the plans durably.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.dir.join(name);
        match write_durably(&path, bytes) {
            Err(e) if e.is_disk_full() && remove_durably(&self.reserve())? => {
                tracing::warn!("the disk is full; writing the plan into the reserve");
                Ok(write_durably(&path, bytes)?)
            }
            result => Ok(result?),
        }
    }

    /// Makes the reserve if it is not there. Without space there is none; that is tried again.
    fn hold_reserve(&self) {
        if self.reserve().exists() {
            return;
        }
        if let Err(error) = write_durably(&self.reserve(), &vec![0; RESERVE_BYTES]) {
            tracing::debug!(%error, "no space for the reserve");
        }
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// Removes a finished plan durably.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, plan: &Plan) -> Result<(), JournalError> {
        remove_durably(&self.dir.join(plan.file_name()))?;
        self.hold_reserve();
        Ok(())
    }

    /// The node that has recorded the events, as far as anything tells: the note, or a plan.
    ///
    /// # Errors
    /// If the plans cannot be listed.
    pub fn host(&self, identity: &Identity) -> Result<Option<String>, JournalError> {
        let note = fs::read(self.dir.join(HOST)).ok().and_then(|bytes| decode::<Host>(&bytes).ok());
        if let Some(Host { host }) = note {
            return Ok(Some(host));
        }
        Ok(self.load(identity)?.plans.pop().map(|plan| plan.host))
    }

    /// Notes which node records the events, for who drains the disk when it is dead.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn note_host(&self, host: &str) -> Result<(), JournalError> {
        let bytes = encode(&Host { host: host.to_owned() });
        if fs::read(self.dir.join(HOST)).is_ok_and(|noted| noted == bytes) {
            return Ok(());
        }
        self.write(HOST, &bytes)
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

pub(super) fn paths(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let error = |source| JournalError::Read { path: dir.to_path_buf(), source };
    let entries = fs::read_dir(dir).map_err(error)?;
    entries.map(|entry| Ok(entry.map_err(error)?.path())).collect()
}

/// The plan, if this build can carry it out here.
fn parse(bytes: &[u8], identity: &Identity) -> Result<Option<Plan>, String> {
    let plan = Plan::decode(bytes)?;
    if !plan.is_known() {
        return Err(format!("it has version {}", plan.version));
    }
    if !identity.owns(plan.wal_id) {
        return Err(format!("it is for the WAL {}, not for {}", plan.wal_id, identity.id));
    }
    Ok(Some(plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sewer_wal::WalId;

    #[test]
    fn a_plan_that_was_cut_while_it_was_written_is_removed_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&Layout::new(dir.path())).unwrap();
        let foreign = journal.dir.join("README");
        for path in [&journal.dir.join("0-1.json.tmp"), &foreign] {
            fs::write(path, "{").unwrap();
        }
        let journal = Journal::open(&Layout::new(dir.path())).unwrap();
        let mut left = paths(&journal.dir).unwrap();
        left.sort_unstable();
        assert_eq!(left, [foreign, journal.reserve()]);
        assert_eq!(journal.load(&Identity::new(WalId(1))).unwrap(), Found::default());
    }

    #[test]
    fn the_host_is_noted_and_a_damaged_note_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, identity) = (Layout::new(dir.path()), Identity::new(WalId(1)));
        let journal = Journal::open(&layout).unwrap();
        assert_eq!(journal.host(&identity).unwrap(), None);
        journal.note_host("web-1").unwrap();
        assert_eq!(journal.host(&identity).unwrap().as_deref(), Some("web-1"));
        let mut bytes = fs::read(journal.dir.join(HOST)).unwrap();
        bytes[14] ^= 1;
        fs::write(journal.dir.join(HOST), bytes).unwrap();
        assert_eq!(journal.host(&identity).unwrap(), None);
    }
}
