//! The segments of a plan: what they hold, what is damaged in them, and which of their events are
//! lost.
//!
//! How many events a segment had is told by its footer, by the segment behind it, or by the log.
//! What none of them tells is not taken for nothing: such a loss is *uncounted*.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::{Event, Layout, Lsn, LsnRange, SegmentName, SegmentReader, WalError};
use thiserror::Error;

use super::{Plan, names};

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
    /// What of it is lost.
    pub fn losses(&self) -> Losses {
        Losses {
            events: total(self.damage.iter().filter_map(DamageReport::range).map(LsnRange::count)),
            uncounted: self.damage.iter().any(DamageReport::is_uncounted).into(),
        }
    }
}

/// The sum of figures that come from a disk.
pub(super) fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Events that are lost to damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many are known to be lost.
    pub events: u64,
    /// In how many segments there are more, and nothing tells how many.
    pub uncounted: u64,
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, uncounted } = self;
        write!(f, "{events} events lost to damage")?;
        if *uncounted > 0 {
            write!(f, ", and in {uncounted} segments an unknown number more")?;
        }
        Ok(())
    }
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
    /// The last LSN that is lost with it; none although there is a first one if nothing tells.
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
    /// The loss of everything from an LSN on, as much as there was.
    pub(crate) fn uncounted(offset: u64, first: Lsn) -> Self {
        let reason = "the segment's end is missing, and nothing tells where that was".to_owned();
        Self { offset, reason, first_lost_lsn: Some(first), last_lost_lsn: None }
    }

    /// The LSNs that are known to be lost here.
    pub(crate) fn range(&self) -> Option<LsnRange> {
        let (first, last) = self.first_lost_lsn.zip(self.last_lost_lsn)?;
        Some(LsnRange { first, end: last.checked_plus(1)? }).filter(|range| !range.is_empty())
    }

    /// Whether events are lost here, and nothing tells how many.
    pub fn is_uncounted(&self) -> bool {
        self.first_lost_lsn.is_some() && self.last_lost_lsn.is_none()
    }
}

/// The LSNs that are lost: "7", "7..=9", or "7 and up" where nothing tells how many.
impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first_lost_lsn, self.last_lost_lsn) {
            (Some(first), Some(last)) if first == last => write!(f, "{first}"),
            (Some(first), Some(last)) => write!(f, "{first}..={last}"),
            (Some(first), None) => write!(f, "{first} and up"),
            (None, _) => f.write_str("none"),
        }
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
    /// The path template of the plan does not work.
    #[error("{0}")]
    Path(String),
}

/// What the segments of a plan hold.
pub(super) struct Survey {
    pub directories: BTreeMap<String, Records>,
    pub damaged: Vec<DamagedSegment>,
    /// The LSN after the last one, be it read or lost.
    pub end: Lsn,
}

/// The records of one directory.
pub(super) struct Records {
    pub count: u64,
    pub last_timestamp_ms: i64,
}

/// Reads the segments of a plan. `ends` has for each the LSN behind its last event, as far as
/// something else than its own footer tells.
pub(super) fn survey(
    layout: &Layout,
    plan: &Plan,
    ends: &[Option<Lsn>],
) -> Result<Survey, PlanError> {
    let (mut directories, mut damaged) = (BTreeMap::<String, Records>::new(), Vec::new());
    let mut partitions = plan.partitions()?;
    let mut survey_end = plan.first_lsn;
    for (&name, &end) in plan.segments.iter().zip(ends) {
        let (mut events, mut damage) = (0, Vec::<DamageReport>::new());
        let mut count = |event: Event<'_>| -> Result<(), PlanError> {
            events += 1;
            let directory = partitions.directory(event.timestamp_ms);
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
        let mut reader = open_segment(layout, plan, name)?.expecting_end(end);
        read_events(&mut reader, name, &mut count, |found| damage.push(found.into()))?;
        let read_end = reader.next_lsn().unwrap_or(name.base);
        if reader.footer().is_none() && end.is_none() {
            damage.push(DamageReport::uncounted(reader.data_end(), read_end));
        }
        let lost = damage.iter().filter_map(|damage| damage.last_lost_lsn);
        let lost_end = lost.filter_map(|last| last.checked_plus(1)).max();
        survey_end = survey_end.max(read_end).max(lost_end.unwrap_or_default());
        if !damage.is_empty() {
            damaged.push(DamagedSegment { name, events, damage });
        }
    }
    Ok(Survey { directories, damaged, end: survey_end })
}

/// Opens a sealed segment of a plan.
///
/// # Errors
/// [`PlanError::Segment`] if it cannot be opened, or if it is another WAL's.
pub(crate) fn open_segment(
    layout: &Layout,
    plan: &Plan,
    name: SegmentName,
) -> Result<SegmentReader, PlanError> {
    let path = layout.sealed_file(name);
    let open = || {
        let reader = SegmentReader::open(&path, Kind::Sealed)?;
        // A footer of format 1 may be what is damaged.
        let footer = reader.footer().filter(|footer| footer.version > 1);
        let told = reader.header().map(|header| header.wal_id);
        match told.or(footer.map(|footer| footer.wal_id)) {
            Some(found) if found != plan.wal_id => {
                let expected = plan.wal_id;
                Err(WalError::ForeignSegment { path: path.clone(), found, expected })
            }
            _ => Ok(reader),
        }
    };
    open().map_err(|cause| PlanError::Segment { name, cause })
}

/// Whether another WAL has come to use a name of the plan since it was made.
pub(crate) fn is_foreign(layout: &Layout, plan: &Plan, name: SegmentName) -> bool {
    let opened = open_segment(layout, plan, name);
    matches!(opened, Err(PlanError::Segment { cause: WalError::ForeignSegment { .. }, .. }))
}

/// Calls `on_event` for each intact event of a segment, in order, and `on_damage` for each damage.
///
/// # Errors
/// [`PlanError::Segment`] if it cannot be read to its end, and whatever `on_event` says.
pub(crate) fn read_events<E: From<PlanError>>(
    reader: &mut SegmentReader,
    name: SegmentName,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    mut on_damage: impl FnMut(Damage),
) -> Result<(), E> {
    while let Some(item) = reader.next_item().map_err(|cause| PlanError::Segment { name, cause })? {
        match item {
            Item::Damage(damage) => on_damage(damage),
            Item::Batch(batch) => {
                for (_, bytes) in batch.events() {
                    on_event(Event::decode(bytes).expect("others come as damage"))?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_nothing_counts_is_not_none() {
        let report = DamageReport::uncounted(99, Lsn(7));
        assert_eq!(report.to_string(), "7 and up");
        let name = SegmentName::from(Lsn(5));
        let segment = DamagedSegment { name, events: 2, damage: vec![report] };
        let losses = segment.losses();
        assert_eq!(losses, Losses { events: 0, uncounted: 1 });
        let told = "0 events lost to damage, and in 1 segments an unknown number more";
        assert_eq!(losses.to_string(), told);
    }
}
