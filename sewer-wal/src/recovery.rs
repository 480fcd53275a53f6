//! What a process finds when it opens a WAL, and how it makes it whole again.
//!
//! Every log in `active/` is read with the strict reader up to its last complete batch. A new log
//! is begun whose first, empty batch carries the next LSN; only when that is durable are the old
//! logs sealed, oldest first. So the next LSN survives even if everything sealed is shipped and
//! deleted before the first new event, and recovery can be cut anywhere and done again.
//!
//! The time is that of the logs left in `active/`; sealed segments are not read, unless the newest
//! one contradicts the logs.

use std::fs::{File, OpenOptions};

use crate::active::ActiveLog;
use crate::batch::Batch;
use crate::error::{IoContext, WalError};
use crate::footer::{FOOTER_BYTES, Footer};
use crate::identity::WalId;
use crate::layout::{Layout, sync_dir};
use crate::lsn::{Lsn, LsnRange};
use crate::reader::{Damage, Item, Kind, SegmentReader};
use crate::seal::{LogSummary, remove_log, seal, summarise};
use crate::sealed::{self, SealedSegment};
use crate::space::{SMALL_LOG_BYTES, room_for_log};

/// What recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The WAL's identity.
    pub wal_id: WalId,
    /// Whether the WAL was made just now.
    pub created: bool,
    /// The logs that an earlier process left with events, oldest first; they are sealed now.
    pub logs: Vec<RecoveredLog>,
    /// The LSN that the next event gets.
    pub next_lsn: Lsn,
}

/// A log that was sealed by recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The LSNs that it spans.
    pub range: LsnRange,
    /// The bytes after its last complete batch: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// Damage before its last complete batch: acknowledged events that are lost.
    pub damage: Vec<Damage>,
}

/// Makes the WAL in `layout` whole and begins a log in it, of `log_bytes` if that leaves
/// `min_free_bytes`. The caller holds the lock.
pub(crate) fn recover(
    layout: &Layout,
    log_bytes: u64,
    min_free_bytes: u64,
) -> Result<(ActiveLog, RecoveryReport), WalError> {
    sync_names(layout)?;
    let stored = WalId::load(layout)?;
    let mut left = read_logs(layout)?;
    let wal_id = match stored {
        Some(id) => id,
        None => new_identity(layout, &left)?,
    };
    for (number, summary) in &left {
        if let Some(found) = summary.wal_id.filter(|found| *found != wal_id && stored.is_some()) {
            let path = layout.log_file(*number);
            return Err(WalError::ForeignSegment { path, found, expected: wal_id });
        }
    }
    let next_lsn = match next_lsn(layout, wal_id, &left)? {
        Some(next) => next,
        None if stored.is_none() => Lsn(0),
        None => {
            let (dir, id) = (layout.root().to_path_buf(), layout.id_file());
            return Err(WalError::NextLsnUnknown { dir, id });
        }
    };
    let number = left.last().map_or(1, |(number, _)| number + 1);
    let room = room_for_log(layout, log_bytes, min_free_bytes)?;
    if room.is_none() {
        give_back(layout, &mut left)?;
    }
    let log_bytes = room.unwrap_or(SMALL_LOG_BYTES);
    let mut log = ActiveLog::create(layout, wal_id, number, log_bytes)?;
    log.append(next_lsn, &Batch::default())?;
    if stored.is_none() {
        wal_id.store(layout)?;
    }
    let mut report = RecoveryReport { wal_id, created: stored.is_none(), logs: vec![], next_lsn };
    // Those without events first: what they free may be what sealing needs on a full disk.
    left.sort_by_key(|(number, summary)| (summary.range.is_some_and(|r| !r.is_empty()), *number));
    for (number, summary) in left {
        let sealed = seal(layout, wal_id, number, &summary)?;
        if let (Some(_), Some(range)) = (sealed, summary.range) {
            let (torn_bytes, damage) = (summary.torn_bytes, summary.damage);
            report.logs.push(RecoveredLog { range, torn_bytes, damage });
        }
    }
    Ok((log, report))
}

/// Makes the names that are seen durable. A process that was killed between a change and its sync
/// left names that a power cut could still take back, after this process has built on them.
fn sync_names(layout: &Layout) -> Result<(), WalError> {
    // Quarantine before what it takes segments from, so that none is lost from both.
    let dirs = [layout.active_dir(), layout.quarantine_dir(), layout.sealed_dir()];
    for dir in [layout.root().to_path_buf()].into_iter().chain(dirs) {
        match sync_dir(&dir) {
            Err(e) if e.is_not_found() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Every log in `active/`, oldest first. A directory without a log is what a cut left of a spare.
///
/// Each is synced before it is read: a batch that a killed process wrote and did not sync is in the
/// page cache and not on the disk, and must not count for the next LSN before it is on both.
fn read_logs(layout: &Layout) -> Result<Vec<(u64, LogSummary)>, WalError> {
    for path in layout.strangers_in_active()? {
        tracing::warn!(path = %path.display(), "no log has this name; it is left alone");
    }
    let mut logs = Vec::new();
    for number in layout.log_numbers()? {
        let log = layout.log_file(number);
        let synced = File::open(&log).and_then(|file| file.sync_all()).context("sync", &log);
        match synced.and_then(|()| summarise(layout, number)) {
            Ok(summary) => logs.push((number, summary)),
            Err(e) if e.is_not_found() => remove_log(layout, number)?,
            Err(e) => return Err(e),
        }
    }
    Ok(logs)
}

/// Frees what the logs have prepared and not used, so that a full disk has room for a new log: a
/// spare goes whole, others lose their zeros.
fn give_back(layout: &Layout, logs: &mut Vec<(u64, LogSummary)>) -> Result<(), WalError> {
    for (number, _) in logs.extract_if(.., |(_, summary)| summary.range.is_none()) {
        remove_log(layout, number)?;
    }
    for (number, summary) in logs {
        let path = layout.log_file(*number);
        let file = OpenOptions::new().write(true).open(&path).context("open", &path)?;
        // The footer's room stays: a new block for it may not be had.
        let needed = summary.data_end + FOOTER_BYTES as u64;
        if file.metadata().context("stat", &path)?.len() > needed {
            file.set_len(needed).context("truncate", &path)?;
            file.sync_all().context("sync", &path)?;
        }
    }
    Ok(())
}

/// An identity for a WAL that has none. It must not have events either: they would come back
/// under other names. A log without events is what a first start left that was cut before it could
/// store the identity: its identity is taken on, or that log would be foreign if this start is cut
/// before it removes it.
fn new_identity(layout: &Layout, logs: &[(u64, LogSummary)]) -> Result<WalId, WalError> {
    let with_events = logs.iter().find(|(_, summary)| {
        summary.range.is_some_and(|range| !range.is_empty() || range.first > Lsn(0))
    });
    let mut found = with_events.and_then(|(_, summary)| summary.wal_id);
    if let Some(base) = layout.sealed_bases()?.first() {
        found = found.or(Footer::load(&layout.sealed_file(*base))?.map(|footer| footer.wal_id));
    }
    if let Some(found) = found {
        return Err(WalError::MissingIdentity { path: layout.id_file(), found });
    }
    let begun = logs.iter().find_map(|(_, summary)| summary.wal_id);
    Ok(begun.unwrap_or_else(WalId::random))
}

/// The LSN after everything local, from the logs and from the newest sealed segment; `None` if no
/// log tells.
fn next_lsn(
    layout: &Layout,
    wal_id: WalId,
    logs: &[(u64, LogSummary)],
) -> Result<Option<Lsn>, WalError> {
    let from_logs = logs.iter().filter_map(|(_, log)| log.range).map(|range| range.end).max();
    let Some(from_logs) = from_logs else { return Ok(None) };
    let Some(newest) = sealed::list(layout)?.pop() else { return Ok(Some(from_logs)) };
    match sealed_end(&newest, wal_id, from_logs) {
        Ok(end) => Ok(Some(end.max(from_logs))),
        Err(e) if e.is_not_found() => Ok(Some(from_logs)),
        // A log's first batch is durable before its predecessor is sealed, so the logs know.
        Err(error) => {
            tracing::warn!(%error, "the newest sealed segment is not asked for its last LSN");
            Ok(Some(from_logs))
        }
    }
}

/// The LSN after a sealed segment, which is hardly ever beyond that of the logs. A footer that says
/// so is not believed without the data: one flipped bit would cost most of all LSNs.
fn sealed_end(segment: &SealedSegment, wal_id: WalId, from_logs: Lsn) -> Result<Lsn, WalError> {
    let footer = sealed::inspect(segment, wal_id)?;
    if let Some(footer) = footer.filter(|footer| footer.range().end <= from_logs) {
        return Ok(footer.range().end);
    }
    let mut reader = SegmentReader::open(&segment.path, Kind::Sealed)?;
    let mut end = segment.base.plus(1); // none is sealed without an event
    while let Some(item) = reader.next_item()? {
        if let Item::Batch(batch) = item {
            end = batch.range.end;
        }
    }
    let sealed_end = footer.filter(|_| reader.is_as_sealed()).map(|footer| footer.range().end);
    Ok(sealed_end.unwrap_or(end))
}
