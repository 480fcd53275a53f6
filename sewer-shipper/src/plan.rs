//! The plan of a shipment: everything that its output depends on, decided once and written down
//! before the first byte is. Doing a plan again yields the same bytes under the same names.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sewer_wal::lsn::LSN_DIGITS;
use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::{Event, Layout, Lsn, SegmentReader, WalError, WalId};
use thiserror::Error;

use crate::backlog::Waiting;
use crate::codec::Compression;
use crate::config::Config;
use crate::format::Format;
use crate::partition::Partitions;
use crate::sequence_file::Header;

/// The version of the plan's file.
const PLAN_VERSION: u32 = 1;

/// A shipment as decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of this file.
    pub version: u32,
    /// The WAL that the segments belong to.
    pub wal_id: WalId,
    /// The first LSN of the shipment.
    pub first_lsn: Lsn,
    /// The last LSN of the shipment.
    pub last_lsn: Lsn,
    /// This node's name in output names.
    pub host: String,
    /// Where the output goes.
    pub destination: String,
    /// The template of the partition directories.
    pub path: String,
    /// The time zone of the template.
    pub timezone: String,
    /// What a record is.
    pub format: Format,
    /// How blocks of records are compressed.
    pub compression: Compression,
    /// The key class of `access-log` files.
    pub access_log_class: String,
    /// The bases of the segments, in order.
    pub segments: Vec<Lsn>,
    /// The damage that was found in them.
    pub damaged: Vec<DamagedSegment>,
    /// The files to be written, one per partition directory.
    pub outputs: Vec<OutputPlan>,
    /// Whether every output has been published, so that only the segments are left to be deleted.
    pub published: bool,
}

/// A segment of the shipment that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedSegment {
    /// The segment's base.
    pub base: Lsn,
    /// How many events it still gave.
    pub events: u64,
    /// What is damaged, and which LSNs are lost.
    pub damage: Vec<DamageReport>,
}

impl DamagedSegment {
    /// How many of its events are lost.
    pub fn lost(&self) -> u64 {
        total(self.damage.iter().map(DamageReport::lost))
    }
}

/// The sum of figures that come from a disk.
fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// One place of damage, as it goes into the report beside the quarantined segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageReport {
    /// Where it begins, in bytes from the start of the segment.
    pub offset: u64,
    /// What was found.
    pub reason: String,
    /// The first LSN that is lost with it.
    pub first_lost_lsn: Option<Lsn>,
    /// The last LSN that is lost with it.
    pub last_lost_lsn: Option<Lsn>,
}

impl From<Damage> for DamageReport {
    fn from(damage: Damage) -> Self {
        let last_lost_lsn = damage.lost.last();
        Self {
            offset: damage.offset,
            reason: damage.reason.to_owned(),
            first_lost_lsn: last_lost_lsn.map(|_| damage.lost.first),
            last_lost_lsn,
        }
    }
}

impl DamageReport {
    /// How many events are lost here.
    pub fn lost(&self) -> u64 {
        let ends = self.first_lost_lsn.zip(self.last_lost_lsn);
        ends.map_or(0, |(first, last)| last.plus(1).since(first))
    }
}

/// One file of the shipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPlan {
    /// The partition directory.
    pub directory: String,
    /// The final name within it.
    pub name: String,
    /// The records in it.
    pub records: u64,
    /// The latest timestamp in it, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_timestamp_ms: i64,
    /// Its length in bytes once it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u64>,
    /// The replication to be restored once it is published, if it is written with less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u32>,
}

impl OutputPlan {
    /// The path of the finished file.
    pub fn final_path(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    /// The path under which an attempt writes it.
    pub fn temporary_path(&self, attempt: u32) -> String {
        format!("{}/.{}.{attempt}.tmp", self.directory, self.name)
    }

    /// Which attempt a name in the directory is, if it is one of this file.
    pub fn attempt_of(&self, name: &str) -> Option<u32> {
        name.strip_prefix('.')?
            .strip_prefix(&self.name)?
            .strip_prefix('.')?
            .strip_suffix(".tmp")?
            .parse()
            .ok()
    }
}

/// Why no plan could be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A segment cannot be read, or holds an event that this build does not know.
    #[error("{cause}")]
    Segment {
        /// Its base.
        base: Lsn,
        /// Why.
        cause: WalError,
    },
    /// The path template does not work for an event.
    #[error("{0}")]
    Path(String),
}

/// Makes the plan for a run of segments, reading all of it. Blocks.
///
/// # Errors
/// [`PlanError`]; nothing was changed.
pub fn make(
    layout: &Layout,
    wal_id: WalId,
    run: &[Waiting],
    config: &Config,
) -> Result<Plan, PlanError> {
    let destination = &config.destination;
    let mut plan = Plan {
        version: PLAN_VERSION,
        wal_id,
        first_lsn: run.first().map(|segment| segment.base).unwrap_or_default(),
        last_lsn: Lsn(0),
        host: config.shipper.host.clone(),
        destination: destination.uri.clone(),
        path: destination.path.clone(),
        timezone: destination.timezone.clone(),
        format: destination.format,
        compression: destination.compression,
        access_log_class: destination.access_log_class.clone(),
        segments: run.iter().map(|segment| segment.base).collect(),
        damaged: Vec::new(),
        outputs: Vec::new(),
        published: false,
    };
    let survey = survey(layout, &plan)?;
    plan.last_lsn = Lsn(survey.end.0.saturating_sub(1)).max(plan.first_lsn);
    plan.damaged = survey.damaged;
    let name = plan.output_name();
    let output = |(directory, Records { count, last_timestamp_ms })| OutputPlan {
        directory,
        name: name.clone(),
        records: count,
        last_timestamp_ms,
        published: None,
        replication: None,
    };
    plan.outputs = survey.directories.into_iter().map(output).collect();
    Ok(plan)
}

/// What the segments of a plan hold.
struct Survey {
    directories: BTreeMap<String, Records>,
    damaged: Vec<DamagedSegment>,
    /// The LSN after the last one.
    end: Lsn,
}

/// The records of one directory.
struct Records {
    count: u64,
    last_timestamp_ms: i64,
}

fn survey(layout: &Layout, plan: &Plan) -> Result<Survey, PlanError> {
    let (mut directories, mut damaged) = (BTreeMap::<String, Records>::new(), Vec::new());
    let mut partitions = plan.partitions()?;
    let mut end = plan.first_lsn;
    for &base in &plan.segments {
        let (mut events, mut damage) = (0, Vec::new());
        let mut count = |_, event: Event<'_>| -> Result<(), PlanError> {
            events += 1;
            let directory = directory(&mut partitions, &event)?;
            let last_timestamp_ms = event.timestamp_ms;
            if let Some(records) = directories.get_mut(directory) {
                records.count += 1;
                records.last_timestamp_ms = records.last_timestamp_ms.max(last_timestamp_ms);
            } else {
                let records = Records { count: 1, last_timestamp_ms };
                directories.insert(directory.to_owned(), records);
            }
            Ok(())
        };
        end = end.max(read_segment(layout, base, &mut count, |d| damage.push(d.into()))?);
        if !damage.is_empty() {
            damaged.push(DamagedSegment { base, events, damage });
        }
    }
    Ok(Survey { directories, damaged, end })
}

/// Calls `on_event` for each intact event of a sealed segment, in order, and `on_damage` for each
/// damage; returns the LSN after the last one.
///
/// # Errors
/// [`PlanError::Segment`] if it cannot be read to its end, and whatever `on_event` says.
pub(crate) fn read_segment<E: From<PlanError>>(
    layout: &Layout,
    base: Lsn,
    on_event: &mut impl FnMut(Lsn, Event<'_>) -> Result<(), E>,
    mut on_damage: impl FnMut(Damage),
) -> Result<Lsn, E> {
    let path = layout.sealed_file(base);
    let unreadable = |cause| PlanError::Segment { base, cause };
    let mut reader = SegmentReader::open(&path, Kind::Sealed).map_err(unreadable)?;
    while let Some(item) = reader.next_item().map_err(unreadable)? {
        match item {
            Item::Damage(damage) => on_damage(damage),
            Item::Batch(batch) => {
                for (lsn, bytes) in batch.events() {
                    let event = Event::decode(bytes)
                        .map_err(|source| WalError::Event { path: path.clone(), lsn, source })
                        .map_err(unreadable)?;
                    on_event(lsn, event)?;
                }
            }
        }
    }
    Ok(reader.next_lsn().unwrap_or(base))
}

/// The partition directory of an event.
pub(crate) fn directory<'a>(
    partitions: &'a mut Partitions,
    event: &Event<'_>,
) -> Result<&'a str, PlanError> {
    let timestamp_ms = event.timestamp_ms;
    partitions
        .directory(timestamp_ms)
        .map_err(|e| PlanError::Path(format!("directory for timestamp {timestamp_ms}: {e}")))
}

impl Plan {
    /// The name of the plan's file, and of nothing else: `<first>-<last>.json`.
    pub fn file_name(&self) -> String {
        format!("{:0LSN_DIGITS$}-{:0LSN_DIGITS$}.json", self.first_lsn.0, self.last_lsn.0)
    }

    /// Where its events go.
    ///
    /// # Errors
    /// If a plan written by hand has a template that does not work.
    pub fn partitions(&self) -> Result<Partitions, PlanError> {
        Partitions::new(&self.path, &self.timezone, &self.host, &self.wal_id.to_string())
            .map_err(PlanError::Path)
    }

    /// Whether this build can carry the plan out.
    pub fn is_known(&self) -> bool {
        self.version == PLAN_VERSION
    }

    /// The events that it delivers.
    pub fn records(&self) -> u64 {
        total(self.outputs.iter().map(|output| output.records))
    }

    /// The events that are lost to damage.
    pub fn lost(&self) -> u64 {
        total(self.damaged.iter().map(DamagedSegment::lost))
    }

    /// The plan for what its segments still hold after they were damaged: outputs already published
    /// stay as they are, the others get what is left. Reads all of it. Blocks.
    ///
    /// # Errors
    /// [`PlanError`] if a segment cannot be read to its end.
    pub fn amended(&self, layout: &Layout) -> Result<Self, PlanError> {
        let Survey { mut directories, damaged, .. } = survey(layout, self)?;
        let mut plan = Self { damaged, ..self.clone() };
        plan.outputs.retain_mut(|output| {
            let records = directories.remove(&output.directory);
            if output.published.is_none() {
                output.records = records.map_or(0, |records| records.count);
            }
            output.records > 0
        });
        Ok(plan)
    }

    fn output_name(&self) -> String {
        format!(
            "{}-{}-{:0LSN_DIGITS$}-{:0LSN_DIGITS$}.seq",
            self.host, self.wal_id, self.first_lsn.0, self.last_lsn.0
        )
    }

    /// The header of an output. Its sync marker is derived, so that the bytes are reproducible.
    pub fn header(&self, output: &OutputPlan) -> Header {
        let mut digest = Md5::new();
        digest.update(output.final_path());
        Header {
            key_class: self.format.key_class(&self.access_log_class).to_owned(),
            value_class: self.format.value_class().to_owned(),
            compression: self.compression,
            metadata: BTreeMap::from([
                ("sewer.wal_id".to_owned(), self.wal_id.to_string()),
                ("sewer.first_lsn".to_owned(), self.first_lsn.to_string()),
                ("sewer.last_lsn".to_owned(), self.last_lsn.to_string()),
                ("sewer.records".to_owned(), output.records.to_string()),
            ]),
            sync: digest.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_hidden_and_recognised() {
        let output = OutputPlan {
            directory: "/d".into(),
            name: "n.seq".into(),
            records: 1,
            last_timestamp_ms: 0,
            published: None,
            replication: None,
        };
        assert_eq!(output.temporary_path(3), "/d/.n.seq.3.tmp");
        assert_eq!(output.attempt_of(".n.seq.3.tmp"), Some(3));
        for other in ["n.seq", ".n.seq.tmp", ".m.seq.3.tmp", ".n.seq.x.tmp"] {
            assert_eq!(output.attempt_of(other), None, "{other}");
        }
    }
}
