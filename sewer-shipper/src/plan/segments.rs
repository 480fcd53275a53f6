//! The segments of a plan: what they hold, what is damaged in them, and which of their events are
//! lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::{Event, Layout, Lsn, SegmentName, SegmentReader, WalError, WalId};
use thiserror::Error;

use super::{Plan, names};
use crate::partition::Partitions;

/// A segment of the shipment that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedSegment {
    /// The segment's name.
    #[serde(rename = "base", with = "names::one")]
    pub name: SegmentName,
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
pub(super) fn total(counts: impl Iterator<Item = u64>) -> u64 {
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

/// Why no plan could be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A segment cannot be read.
    #[error("{cause}")]
    Segment {
        /// Its name.
        name: SegmentName,
        /// Why.
        cause: WalError,
    },
    /// The path template does not work for an event.
    #[error("{0}")]
    Path(String),
}

/// What the segments of a plan hold.
pub(super) struct Survey {
    pub directories: BTreeMap<String, Records>,
    pub damaged: Vec<DamagedSegment>,
    /// The LSN after the last one.
    pub end: Lsn,
}

/// The records of one directory.
pub(super) struct Records {
    pub count: u64,
    pub last_timestamp_ms: i64,
}

pub(super) fn survey(layout: &Layout, plan: &Plan) -> Result<Survey, PlanError> {
    let (mut directories, mut damaged) = (BTreeMap::<String, Records>::new(), Vec::new());
    let mut partitions = plan.partitions()?;
    let mut end = plan.first_lsn;
    for &name in &plan.segments {
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
        let segment = (name, plan.wal_id);
        end = end.max(read_segment(layout, segment, &mut count, |d| damage.push(d.into()))?);
        if !damage.is_empty() {
            damaged.push(DamagedSegment { name, events, damage });
        }
    }
    Ok(Survey { directories, damaged, end })
}

/// Calls `on_event` for each intact event of a sealed segment, in order, and `on_damage` for each
/// damage; returns the LSN after the last one.
///
/// # Errors
/// [`PlanError::Segment`] if it cannot be read to its end or belongs to another WAL, and whatever
/// `on_event` says.
pub(crate) fn read_segment<E: From<PlanError>>(
    layout: &Layout,
    (name, wal_id): (SegmentName, WalId),
    on_event: &mut impl FnMut(Lsn, Event<'_>) -> Result<(), E>,
    mut on_damage: impl FnMut(Damage),
) -> Result<Lsn, E> {
    let path = layout.sealed_file(name);
    let unreadable = |cause| PlanError::Segment { name, cause };
    let mut reader = SegmentReader::open(&path, Kind::Sealed).map_err(unreadable)?;
    if let Some(found) = reader.header().map(|h| h.wal_id).filter(|found| *found != wal_id) {
        let cause = WalError::ForeignSegment { path, found, expected: wal_id };
        return Err(PlanError::Segment { name, cause }.into());
    }
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
    Ok(reader.next_lsn().unwrap_or(name.base))
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
