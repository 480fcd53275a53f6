//! What the local disk holds: active logs and sealed segments.

use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::sealed::{self, Inspected, SealedSegment};
use sewer_wal::{Footer, Identity, Layout, LsnRange, SegmentReader, WalError};

use super::{Local, Look};
use crate::plan::DamageReport;
use crate::record::partition::Partitions;

/// Looks at the active logs.
pub(super) fn look_at_logs(layout: &Layout, look: &mut Look) -> Result<(), WalError> {
    // The newest first: no log gets a batch before the one before it has got its last, so that what
    // is added meanwhile is never a gap between two of them.
    for number in layout.log_numbers()?.into_iter().rev() {
        let path = layout.log_file(number);
        let mut reader = match SegmentReader::open(&path, Kind::Active) {
            Err(e) if e.is_not_found() => continue,
            Err(e) => {
                look.problems.push(format!("UNREADABLE {e}"));
                continue;
            }
            Ok(reader) => reader,
        };
        let (mut first, mut damage) = (None, Vec::new());
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Batch(batch) => drop(first.get_or_insert(batch.range.first)),
                Item::Damage(found) => {
                    if !found.lost.is_empty() {
                        first.get_or_insert(found.lost.first);
                    }
                    damage.push(found);
                }
            }
        }
        let Some(header) = reader.header() else {
            // A spare has nothing but zeros.
            for Damage { offset, reason, .. } in damage {
                let path = path.display();
                look.problems.push(format!("UNREADABLE {path} is damaged at {offset}: {reason}"));
            }
            continue;
        };
        let Some(seen) = look.wals.get_mut(&header.wal_id) else {
            let path = path.display();
            look.problems.push(format!("FOREIGN {path} belongs to the WAL {}", header.wal_id));
            continue;
        };
        if let Some((first, end)) = first.zip(reader.next_lsn()) {
            let range = LsnRange { first, end };
            let damage = damage.into_iter().map(DamageReport::from).collect();
            seen.local.push(Local { path, name: None, range, damage, places: None });
        }
    }
    Ok(())
}

/// Looks at the sealed segments.
pub(super) fn look_at_segments(
    layout: &Layout,
    identity: &Identity,
    mut partitions: Partitions,
    look: &mut Look,
) -> Result<(), WalError> {
    for path in layout.strangers_in_sealed()? {
        look.problems.push(format!("FOREIGN {}", WalError::Stranger { path }));
    }
    for segment in sealed::list(layout)? {
        let found = sealed::inspect(&segment, identity)
            .and_then(|found| Ok((found.wal_id, local(layout, identity, &segment, found)?)));
        match found {
            Ok((wal_id, (mut local, footer))) => {
                let mut place = |time_ms| partitions.directory(time_ms).to_owned();
                local.places = footer.map(|footer| {
                    (place(footer.first_timestamp_ms), place(footer.last_timestamp_ms))
                });
                look.wals.entry(wal_id).or_default().local.push(local);
            }
            Err(e) if e.is_not_found() => look.moved = true,
            Err(e) => look.problems.push(format!("NOT COUNTED {e}")),
        }
    }
    Ok(())
}

/// A segment, by its footer, or, without one or without a header, by its batches and by what is
/// behind it.
fn local(
    layout: &Layout,
    identity: &Identity,
    segment: &SealedSegment,
    Inspected { wal_id, footer }: Inspected,
) -> Result<(Local, Option<Footer>), WalError> {
    let (path, name) = (segment.path.clone(), Some(segment.name));
    let mut reader = SegmentReader::open(&path, Kind::Sealed)?;
    let is_whole = reader.header().is_some();
    let places = None;
    if let Some(range) = footer.filter(|_| is_whole).map(|footer| footer.range()) {
        return Ok((Local { path, name, range, damage: Vec::new(), places }, footer));
    }
    let end = match footer {
        Some(footer) => Some(footer.range().end),
        None => sealed::next_base(layout, identity, wal_id, segment.name)?,
    };
    reader = reader.expecting_end(end);
    let mut damage = Vec::<DamageReport>::new();
    while let Some(item) = reader.next_item()? {
        if let Item::Damage(found) = item {
            damage.push(found.into());
        }
    }
    let first = segment.name.base;
    let read_end = reader.next_lsn().unwrap_or(first);
    if end.is_none() {
        damage.push(DamageReport::uncounted(reader.data_end(), read_end));
    }
    let range = LsnRange { first, end: read_end.max(end.unwrap_or(first)) };
    Ok((Local { path, name, range, damage, places }, footer))
}
