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
//! The open partitions are noted in `<wal.dir>/shipments/partitions.json`, durably, before the plan
//! of what was shipped into them is removed; so they go with the disk, and whoever drains that
//! marks them under the name of the node that recorded the events. Nothing is marked while a
//! segment is set aside or a plan cannot be read: these events may belong anywhere. Nor is a
//! partition that a plan has still to publish something into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use sewer_wal::durable::sync_dir;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Event, Identity, Layout, SegmentReader, WalError, WalId};

use crate::config::Config;
use crate::destination::{self, CreateOptions, Destination, DestinationError};
use crate::plan::backlog::{Totals, now_ms};
use crate::plan::journal::{Journal, JournalError};
use crate::plan::{Found, Plan, decode, encode};
use crate::record::partition::Partitions;

/// How much later than an event's timestamp it may enter the log, in milliseconds: a disk that
/// takes longer for an fsync than this fails the pixel's clients long before.
const LATENESS_MS: i64 = 60_000;

/// The partitions that something was shipped into and that are not marked as done.
#[derive(Debug)]
pub struct OpenPartitions {
    journal: Journal,
    open: Mutex<BTreeMap<String, Open>>,
}

/// The file in the journal's directory.
const PARTITIONS: &str = "partitions.json";
/// The name under which a damaged one is kept.
const DAMAGED: &str = "partitions.json.damaged";

/// The content of that file.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    /// By directory.
    partitions: BTreeMap<String, Open>,
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
    /// Reads the note of a journal, if there is one. A damaged one is set aside.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(journal: Journal) -> Result<Self, JournalError> {
        let path = journal.dir().join(PARTITIONS);
        let open = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(JournalError::Read { path, source }),
            Ok(bytes) => match parse(&bytes) {
                Ok(open) => open,
                Err(problem) => {
                    set_aside(&journal, &problem)?;
                    BTreeMap::new()
                }
            },
        };
        Ok(Self { journal, open: Mutex::new(open) })
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
            self.journal.write(PARTITIONS, &encode(&Noted { partitions: changed.clone() }))?;
            *open = changed;
        }
        Ok(())
    }
}

/// The content of the note, or of that of an earlier build, which has no checksum.
fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Open>, String> {
    match decode::<Noted>(bytes) {
        Ok(noted) => Ok(noted.partitions),
        Err(problem) => serde_json::from_slice(bytes).map_err(|_| problem),
    }
}

/// Puts a damaged note out of the way. Only markers are concerned.
fn set_aside(journal: &Journal, problem: &str) -> Result<(), JournalError> {
    let (path, kept) = (journal.dir().join(PARTITIONS), journal.dir().join(DAMAGED));
    fs::rename(&path, &kept).map_err(|source| JournalError::Read { path: path.clone(), source })?;
    sync_dir(journal.dir())?;
    tracing::error!(
        path = %path.display(), kept = %kept.display(),
        "the list of open partitions is damaged: {problem}; the partitions in it get no \
         _SUCCESS marker, unless something is shipped into them again: make these by hand"
    );
    Ok(())
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
    /// The node that has recorded the events.
    host: String,
    layout: Layout,
    identity: Identity,
    destination: Arc<dyn Destination>,
    partitions: Arc<OpenPartitions>,
}

impl Marker {
    /// Marks what `partitions` says is open.
    pub fn new(
        config: &Config,
        host: &str,
        layout: Layout,
        identity: Identity,
        destination: Arc<dyn Destination>,
        partitions: Arc<OpenPartitions>,
    ) -> Self {
        let (config, host) = (config.clone(), host.to_owned());
        Self { config, host, layout, identity, destination, partitions }
    }

    /// Tells whether there is anything to mark.
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
        let open = self.partitions.all();
        let (journal, identity) = (self.partitions.journal.clone(), self.identity.clone());
        let unfinished = tokio::task::spawn_blocking(move || journal.load(&identity)).await??;
        if backlog.set_aside > 0 || !unfinished.damaged.is_empty() {
            return Ok(());
        }
        let oldest = [backlog.oldest_ms, active_ms, Some(now_ms())].into_iter().flatten().min();
        let watermark = oldest.unwrap_or(i64::MIN).saturating_sub(LATENESS_MS);
        for (directory, partition) in open {
            let is_done = self.is_done(&directory, &partition, watermark);
            if is_done && !is_awaited(&unfinished, &directory) {
                self.put(&directory, &partition).await?;
            }
        }
        Ok(())
    }

    /// The WALs that have shipped into a partition.
    fn wal_ids(&self, partition: &Open) -> BTreeSet<WalId> {
        let ids = &partition.wal_ids;
        if ids.is_empty() { BTreeSet::from([self.identity.id]) } else { ids.clone() }
    }

    fn is_done(&self, directory: &str, partition: &Open, watermark_ms: i64) -> bool {
        let destination = &self.config.destination;
        let host = &self.host;
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
        let current = &self.identity.id;
        let wal_id = ids.get(current).or(ids.last()).unwrap_or(current);
        let path = format!("{directory}/_SUCCESS-{}-{wal_id}", self.host);
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

/// Tells whether a plan has still to publish something into a partition.
fn is_awaited(unfinished: &Found, directory: &str) -> bool {
    let mut outputs = unfinished.plans.iter().flat_map(|plan| &plan.outputs);
    outputs.any(|output| !output.published && output.directory == directory)
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
