//! Everything that earlier builds have kept in `shipper.dir`, moved once: plans without a checksum
//! in `shipments/` (of another node's WAL, in `replay-<id>/shipments/`), and the open partitions.
//!
//! A plan is written in its new place before it is removed from the old one, and shipping begins
//! only when all are moved. What is another WAL's is left alone. What cannot be read is left, too,
//! and holds back the LSNs in its name.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sewer_wal::durable::{remove_durably, sync_dir};
use sewer_wal::{Identity, Lsn, SegmentName, WalError, WalId};

use super::journal::{Journal, JournalError, paths};
use super::{DamagedSegment, Found, OutputPlan, PLAN_VERSION, Plan, names};
use crate::hadoop::codec::Compression;
use crate::record::format::Format;

/// The file of the open partitions, here and there.
const PARTITIONS: &str = "partitions.json";

/// A plan as earlier builds have written it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan1 {
    version: u32,
    wal_id: WalId,
    first_lsn: Lsn,
    last_lsn: Lsn,
    host: String,
    destination: String,
    path: String,
    timezone: String,
    format: Format,
    compression: Compression,
    access_log_class: String,
    #[serde(with = "names")]
    segments: Vec<SegmentName>,
    damaged: Vec<DamagedSegment>,
    outputs: Vec<Output1>,
    published: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output1 {
    directory: String,
    name: String,
    records: u64,
    #[serde(default)]
    last_timestamp_ms: i64,
    /// Its length, once it is published.
    #[serde(default)]
    published: Option<u64>,
    #[serde(default)]
    replication: Option<u32>,
}

impl From<Output1> for OutputPlan {
    fn from(output: Output1) -> Self {
        let Output1 { directory, name, records, last_timestamp_ms, published, replication } =
            output;
        Self {
            directory,
            name,
            records,
            last_timestamp_ms,
            attempts: None,
            confirmed: None,
            published: published.is_some(),
            replication,
        }
    }
}

impl From<Plan1> for Plan {
    fn from(plan: Plan1) -> Self {
        Self {
            version: PLAN_VERSION,
            wal_id: plan.wal_id,
            first_lsn: plan.first_lsn,
            last_lsn: plan.last_lsn,
            host: plan.host,
            destination: plan.destination,
            path: plan.path,
            timezone: plan.timezone,
            format: plan.format,
            compression: plan.compression,
            access_log_class: plan.access_log_class,
            segments: plan.segments,
            damaged: plan.damaged,
            outputs: plan.outputs.into_iter().map(OutputPlan::from).collect(),
            look_first: false,
            published: plan.published,
        }
    }
}

/// Reads a plan of an earlier build; `None` if it is that of another WAL.
fn parse(bytes: &[u8], identity: &Identity) -> Result<Option<Plan>, String> {
    let plan: Plan1 = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if plan.version != 1 {
        return Err(format!("it has version {}, and no checksum", plan.version));
    }
    Ok(Some(plan).filter(|plan| identity.owns(plan.wal_id)).map(Plan::from))
}

/// The directories in which earlier builds may have kept something of this WAL.
fn old_dirs(shipper_dir: &Path, identity: &Identity, is_own: bool) -> Vec<PathBuf> {
    if is_own {
        return vec![shipper_dir.to_owned()];
    }
    let ids = [identity.id].into_iter().chain(identity.earlier.iter().copied());
    ids.map(|id| shipper_dir.join(format!("replay-{id}"))).collect()
}

/// The files in the `shipments` of an old directory; none if it is not there. What a crash left of
/// writing one is no plan: nothing of its shipment has begun.
fn old_files(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    match paths(&dir.join("shipments")) {
        Err(JournalError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        found => found,
    }
}

/// The plans in an old directory.
fn look_in(dir: &Path, identity: &Identity) -> Result<Found, JournalError> {
    let mut old = Found::default();
    for path in old_files(dir)? {
        let shown = path.clone();
        old.look_at(path, |bytes| {
            let plan = parse(bytes, identity)?;
            if plan.is_none() {
                tracing::warn!(plan = %shown.display(), "it is another WAL's, and left alone");
            }
            Ok(plan)
        });
    }
    Ok(old)
}

/// Adds the plans of earlier builds to those found, changing nothing.
pub(super) fn look(
    found: &mut Found,
    shipper_dir: &Path,
    identity: &Identity,
    is_own: bool,
) -> Result<(), JournalError> {
    for dir in old_dirs(shipper_dir, identity, is_own) {
        let Found { mut plans, mut damaged } = look_in(&dir, identity)?;
        // A plan that is in both places is moved already.
        plans.retain(|plan| found.plans.iter().all(|f| f.file_name() != plan.file_name()));
        found.plans.append(&mut plans);
        damaged.retain(|plan| found.damaged.iter().all(|f| f.path != plan.path));
        damaged.retain(|plan| {
            let is_moved = |f: &Plan| plan.path.ends_with(f.file_name());
            !found.plans.iter().any(is_moved)
        });
        found.damaged.append(&mut damaged);
    }
    found.plans.sort_unstable_by_key(|plan| (plan.first_lsn, plan.wal_id));
    Ok(())
}

/// Moves everything that earlier builds have kept of this WAL into its journal.
pub(super) fn take_over(
    journal: &Journal,
    shipper_dir: &Path,
    identity: &Identity,
    is_own: bool,
) -> Result<(), JournalError> {
    for dir in old_dirs(shipper_dir, identity, is_own) {
        let shipments = dir.join("shipments");
        // Whoever has set shipper.dir to the directory of the WAL has them in the new place.
        let place = fs::canonicalize(&shipments).ok();
        let is_in_place = place.is_some() && place == fs::canonicalize(journal.dir()).ok();
        let plans = look_in(&dir, identity)?.plans;
        for plan in &plans {
            let name = plan.file_name();
            if is_in_place || !journal.dir().join(&name).exists() {
                journal.store(plan)?;
            }
            if !is_in_place {
                remove_durably(&shipments.join(&name))?;
            }
        }
        let is_moved = move_partitions(journal, &dir, identity)?;
        if is_moved || !plans.is_empty() {
            remove_durably(&dir.join("reserve"))?;
            if !is_in_place && remove_dir(&shipments)? && !is_own {
                remove_dir(&dir)?;
            }
            let (from, to) = (dir.display(), journal.dir().display());
            tracing::info!(plans = plans.len(), %from, %to, "moved the plans of an earlier build");
        }
    }
    Ok(())
}

/// Moves the note of the open partitions as it is, if it is of this WAL; `false` if there is none.
fn move_partitions(
    journal: &Journal,
    dir: &Path,
    identity: &Identity,
) -> Result<bool, JournalError> {
    let path = dir.join(PARTITIONS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(JournalError::Read { path, source }),
    };
    if !may_be_of(&bytes, identity) {
        return Ok(false);
    }
    if !journal.dir().join(PARTITIONS).exists() {
        journal.write(PARTITIONS, &bytes)?;
    }
    remove_durably(&path)?;
    Ok(true)
}

/// Tells whether a note of open partitions names this WAL, or none.
fn may_be_of(bytes: &[u8], identity: &Identity) -> bool {
    let noted: BTreeMap<String, WalIds> = serde_json::from_slice(bytes).unwrap_or_default();
    let mut ids = noted.values().flat_map(|open| &open.wal_ids).peekable();
    ids.peek().is_none() || ids.any(|id| identity.owns(*id))
}

#[derive(Deserialize)]
struct WalIds {
    #[serde(default)]
    wal_ids: Vec<WalId>,
}

/// Removes a directory that is empty; `true` if it is not there any more.
fn remove_dir(dir: &Path) -> Result<bool, JournalError> {
    match fs::remove_dir(dir) {
        Ok(()) => {
            dir.parent().map_or(Ok(()), sync_dir)?;
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(source) => {
            let (action, path) = ("remove", dir.to_path_buf());
            Err(WalError::Io { action, path, source }.into())
        }
    }
}
