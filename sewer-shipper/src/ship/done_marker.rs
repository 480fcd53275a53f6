//! Markers that tell analysts that a node has delivered all of a partition: an empty file
//! `_SUCCESS-<host>-<WAL id>` in its directory, with `destination.done_marker`.
//!
//! It is one for each node, also where a node has shipped under several identities.
//!
//! A partition is open from when something of it is shipped. It is done once no event of this node
//! can still come for it: every event not yet shipped, sealed or active, is later than its last one
//! and belongs to another directory, and so does the present. Events get their timestamps a moment
//! before they are in the log, so "later" leaves [`LATENESS_MS`] between. What still comes late
//! (from a clock that went back) is shipped as ever; the marker is there already then.
//!
//! The open partitions are kept in `<shipper.dir>/partitions.json`, written durably before the plan
//! of what was shipped into them is removed. Nothing is marked while a segment is set aside: its
//! events may belong anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sewer_wal::durable::write_durably;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Event, Layout, SegmentReader, WalError, WalId};

use crate::config::Config;
use crate::destination::{self, CreateOptions, Destination, DestinationError};
use crate::plan::Plan;
use crate::plan::backlog::{Totals, now_ms};
use crate::plan::journal::JournalError;
use crate::record::partition::Partitions;

/// How much later than an event's timestamp it may enter the log, in milliseconds: a disk that
/// takes longer for an fsync than this fails the pixel's clients long before.
const LATENESS_MS: i64 = 60_000;

/// The partitions that something was shipped into and that are not marked as done.
#[derive(Debug)]
pub struct OpenPartitions {
    path: PathBuf,
    /// By directory and destination.
    open: Mutex<BTreeMap<String, Open>>,
}

/// What is known of an open partition.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Open {
    /// The URI of the destination that holds it.
    destination: String,
    last_timestamp_ms: i64,
    /// The WALs that have shipped into it; none as earlier builds wrote it.
    #[serde(default)]
    wal_ids: BTreeSet<WalId>,
}

impl OpenPartitions {
    /// Reads the file below `shipper_dir`, if there is one.
    ///
    /// # Errors
    /// If it cannot be read or is no such file.
    pub fn load(shipper_dir: &Path) -> Result<Self, JournalError> {
        let path = shipper_dir.join("partitions.json");
        let open = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(JournalError::Read { path, source }),
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(open) => open,
                Err(e) => {
                    return Err(JournalError::BadPartitions { path, problem: e.to_string() });
                }
            },
        };
        Ok(Self { path, open: Mutex::new(open) })
    }

    /// A shipment has been published; its partitions are open. Blocks.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn note(&self, plan: &Plan) -> Result<(), JournalError> {
        self.change(|open| {
            for output in &plan.outputs {
                let entry = open.entry(output.directory.clone()).or_insert_with(|| Open {
                    destination: plan.destination.clone(),
                    last_timestamp_ms: i64::MIN,
                    wal_ids: BTreeSet::new(),
                });
                entry.wal_ids.insert(plan.wal_id);
                entry.destination.clone_from(&plan.destination);
                entry.last_timestamp_ms = entry.last_timestamp_ms.max(output.last_timestamp_ms);
            }
        })
    }

    /// Those that were open when it was asked.
    fn all(&self) -> BTreeMap<String, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets a partition that was marked, unless something was shipped into it meanwhile.
    fn close(&self, directory: &str, seen: &Open) -> Result<(), JournalError> {
        self.change(|open| {
            if open.get(directory) == Some(seen) {
                open.remove(directory);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Open>)) -> Result<(), JournalError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = open.clone();
        change(&mut changed);
        if changed != *open {
            let mut text = serde_json::to_vec_pretty(&changed).expect("it has only plain keys");
            text.push(b'\n');
            write_durably(&self.path, &text)?;
            *open = changed;
        }
        Ok(())
    }
}

/// Why a marker could not be made; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The destination failed.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// What is open could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The WAL cannot be read.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A task panicked.
    #[error("looking at the WAL ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Makes the markers of one WAL.
#[derive(Clone, Debug)]
pub struct Marker {
    config: Config,
    layout: Layout,
    wal_id: WalId,
    destination: Arc<dyn Destination>,
    partitions: Arc<OpenPartitions>,
}

impl Marker {
    /// Marks what `partitions` says is open.
    pub fn new(
        config: &Config,
        layout: Layout,
        wal_id: WalId,
        destination: Arc<dyn Destination>,
        partitions: Arc<OpenPartitions>,
    ) -> Self {
        Self { config: config.clone(), layout, wal_id, destination, partitions }
    }

    /// Whether there is anything to mark.
    pub fn has_work(&self) -> bool {
        !self.partitions.all().is_empty()
    }

    /// The timestamp of the oldest event that is in no sealed segment yet.
    ///
    /// # Errors
    /// If an active log cannot be read.
    pub async fn oldest_active_ms(&self) -> Result<Option<i64>, MarkError> {
        let layout = self.layout.clone();
        Ok(tokio::task::spawn_blocking(move || oldest_active_ms(&layout)).await??)
    }

    /// Marks every partition that is done. `backlog` is what was sealed and not shipped after
    /// `active_ms` was asked for: events go from active to sealed, and none may be missed.
    ///
    /// # Errors
    /// [`MarkError`]; what is not marked stays open.
    pub async fn mark(&self, active_ms: Option<i64>, backlog: Totals) -> Result<(), MarkError> {
        if backlog.set_aside > 0 {
            return Ok(());
        }
        let open = self.partitions.all();
        let oldest = [backlog.oldest_ms, active_ms, Some(now_ms())].into_iter().flatten().min();
        let watermark = oldest.unwrap_or(i64::MIN).saturating_sub(LATENESS_MS);
        for (directory, partition) in open {
            if self.is_done(&directory, &partition, watermark) {
                self.put(&directory, &partition).await?;
            }
        }
        Ok(())
    }

    /// The WALs that have shipped into a partition.
    fn wal_ids(&self, partition: &Open) -> BTreeSet<WalId> {
        let ids = &partition.wal_ids;
        if ids.is_empty() { BTreeSet::from([self.wal_id]) } else { ids.clone() }
    }

    fn is_done(&self, directory: &str, partition: &Open, watermark_ms: i64) -> bool {
        let destination = &self.config.destination;
        let host = &self.config.shipper.host;
        let is_over = |wal_id: WalId| {
            let (path, timezone) = (&destination.path, &destination.timezone);
            let partitions = Partitions::new(path, timezone, host, &wal_id.to_string());
            partitions.is_ok_and(|mut at| at.directory(watermark_ms) != directory)
        };
        watermark_ms > partition.last_timestamp_ms
            && self.wal_ids(partition).into_iter().all(is_over)
    }

    async fn put(&self, directory: &str, partition: &Open) -> Result<(), MarkError> {
        let destination = if partition.destination == self.config.destination.uri {
            Arc::clone(&self.destination)
        } else {
            destination::open(&partition.destination, self.config.destination_options())?
        };
        let ids = self.wal_ids(partition);
        let wal_id = ids.get(&self.wal_id).or(ids.last()).unwrap_or(&self.wal_id);
        let path = format!("{directory}/_SUCCESS-{}-{wal_id}", self.config.shipper.host);
        match destination.create(&path, CreateOptions::default()).await {
            Ok(output) => drop(output.close().await?),
            // An earlier attempt may have left it open, or its name may not be durable yet.
            Err(e) if e.kind() == destination::Kind::AlreadyExists => {
                destination.settle(&path).await?;
            }
            Err(e) => return Err(e.into()),
        }
        tracing::info!(%path, "marked a partition as done by this node");
        let (partitions, partition) = (Arc::clone(&self.partitions), partition.clone());
        let directory = directory.to_owned();
        let closed =
            tokio::task::spawn_blocking(move || partitions.close(&directory, &partition)).await?;
        Ok(closed?)
    }
}

/// The timestamp of the oldest event that is in no sealed segment yet. Blocks.
fn oldest_active_ms(layout: &Layout) -> Result<Option<i64>, WalError> {
    let mut oldest = None;
    for number in layout.log_numbers()? {
        let path = layout.log_file(number);
        let mut reader = match SegmentReader::open(&path, Kind::Active) {
            Err(e) if e.is_not_found() => continue,
            reader => reader?,
        };
        while let Some(item) = reader.next_item()? {
            let Item::Batch(batch) = item else { continue };
            let timestamps = batch.events().filter_map(|(_, bytes)| Event::decode(bytes).ok());
            if let Some(first) = timestamps.map(|event| event.timestamp_ms).min() {
                oldest = Some(oldest.map_or(first, |oldest: i64| oldest.min(first)));
                break;
            }
        }
    }
    Ok(oldest)
}
