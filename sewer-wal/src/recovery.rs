//! The recovery of a WAL: what a process finds when it opens one, and how it makes it whole again.
//!
//! Every log in `active/` is read with the strict reader up to its last complete batch. A new log
//! is begun whose first, empty batches carry the next LSN; only when they are durable are the old
//! logs sealed, oldest first. So the next LSN survives even if everything sealed is shipped and
//! deleted before the first new event, and recovery can be cut anywhere and done again.
//!
//! The time is that of the logs left in `active/`; sealed segments are not read, unless the newest
//! one contradicts the logs.

use std::fs::OpenOptions;

use crate::batch::Batch;
use crate::durable::sync_dir;
use crate::error::{IoContext, WalError};
use crate::format::footer::FOOTER_BYTES;
use crate::format::header::LogHeader;
use crate::identity::{Identity, WalId};
use crate::layout::{Layout, open_file};
use crate::lock::{self, Stored, WalLock};
use crate::log::Engine;
use crate::log::active::ActiveLog;
use crate::log::summary::{LeftLog, LogSummary, summarise};
use crate::lsn::{Lsn, LsnRange};
use crate::reader::Damage;
use crate::reader::window::is_bad_sector;
use crate::seal::{quarantine_log, remove_log, seal};
use crate::space::{SMALL_LOG_BYTES, room_for_log};
use crate::succession::{self, Next};

/// The findings and the results of recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The WAL's identity.
    pub wal_id: WalId,
    /// Whether the WAL was made just now.
    pub created: bool,
    /// Why events are recorded under a new identity, or why the file `ID` was written anew; a
    /// sentence for the operator.
    pub notes: Vec<String>,
    /// The logs that an earlier process left with events, oldest first; they are sealed now.
    pub logs: Vec<RecoveredLog>,
    /// The LSN that the next event gets; `None` if nothing tells and nothing is to be recorded.
    pub next_lsn: Option<Lsn>,
    /// The engine that writes the new log.
    pub engine: Engine,
}

/// A log that was sealed by recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The WAL whose events it holds.
    pub wal_id: WalId,
    /// The LSNs that it spans.
    pub range: LsnRange,
    /// The bytes after its last complete batch: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// Damage before its last complete batch: acknowledged events that are lost.
    pub damage: Vec<Damage>,
}

/// The reason for a recovery: what the process is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Record events, in a first log of this size if that leaves so much free.
    Append { log_bytes: u64, min_free_bytes: u64 },
    /// Only seal what is left.
    Seal,
}

/// A WAL that is whole.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The log that was begun; `None` only for [`Purpose::Seal`], if nothing tells its LSN.
    pub log: Option<ActiveLog>,
    pub identity: Identity,
    pub report: RecoveryReport,
}

/// Makes the WAL in `layout` whole, to which the caller holds the `lock`, and begins a log in it.
pub(crate) fn recover(
    layout: &Layout,
    lock: &WalLock,
    engine: Engine,
    purpose: Purpose,
) -> Result<Recovered, WalError> {
    sync_names(layout)?;
    let is_copied = lock.is_copied()?;
    let stored = lock::load(layout)?;
    let mut notes = Vec::new();
    let mut left = read_logs(layout, &mut notes)?;
    name_logs_without_header(&mut left, &stored);
    report_lost_ends(&mut left, &stored);
    let Next { identity, lsn: next_lsn, created, notes: decided } =
        succession::decide(layout, &stored, &left, purpose != Purpose::Seal, is_copied)?;
    notes.extend(decided);
    let number = layout.log_numbers()?.last().map_or(1, |last| last + 1);
    left.retain(|log| is_ours(layout, &identity, log));
    let (log_bytes, min_free_bytes) = match purpose {
        Purpose::Append { log_bytes, min_free_bytes } => (log_bytes, min_free_bytes),
        Purpose::Seal => (SMALL_LOG_BYTES, 0),
    };
    let room = room_for_log(layout, log_bytes, min_free_bytes)?;
    if room.is_none() {
        give_back(layout, &mut left)?;
    }
    let log_bytes = room.unwrap_or(SMALL_LOG_BYTES);
    let mut log = None;
    // A copy that is only sealed keeps its mark: whoever appends to it must see that it is one.
    let is_kept = next_lsn.is_none()
        || matches!(&stored, Stored::Copied(there) if there.id == identity.id)
        || is_copied && purpose == Purpose::Seal && !matches!(stored, Stored::Sound(_));
    // The identity before its first log, which nobody else may own; and once that tells the next
    // LSN, without it, since that is no longer true with the first event.
    let is_known = matches!(&stored, Stored::Sound(there) if is_same(there, &identity));
    if !is_known && !is_kept {
        lock::store(layout, &Identity { next_lsn, ..identity.clone() })?;
    }
    // Nor does a copy that is only sealed get a log: that would tell the identity of the original.
    if let Some(next_lsn) = next_lsn.filter(|_| !is_kept) {
        let mut begun = ActiveLog::create(layout, &identity, engine, number, log_bytes)?;
        begin(&mut begun, next_lsn)?;
        log = Some(begun);
    }
    let is_stored = matches!(&stored, Stored::Sound(there) if is_known && there.next_lsn.is_none());
    if !is_stored && !is_kept {
        lock::store(layout, &identity)?;
    }
    let (wal_id, logs) = (identity.id, Vec::new());
    let engine = log.as_ref().map_or(engine, ActiveLog::engine);
    let mut report = RecoveryReport { wal_id, created, notes, logs, next_lsn, engine };
    seal_left(layout, left, &mut report)?;
    Ok(Recovered { log, identity, report })
}

/// Whether two identities say the same, but for where LSNs go on.
fn is_same(one: &Identity, other: &Identity) -> bool {
    let of = |identity: &Identity| Identity { born: None, next_lsn: None, ..identity.clone() };
    of(one) == of(other)
}

/// Gives a log its first batches: two empty ones, each on a block of its own, that carry the next
/// LSN, so that one bad sector does not cost it.
pub(crate) fn begin(log: &mut ActiveLog, next_lsn: Lsn) -> Result<(), WalError> {
    for _ in 0..2 {
        log.append(next_lsn, &Batch::default())?;
    }
    Ok(())
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
///
/// A log that cannot be opened for a bad sector is put aside: were it left, and could it be read
/// again later, its LSNs would come back.
fn read_logs(layout: &Layout, notes: &mut Vec<String>) -> Result<Vec<LeftLog>, WalError> {
    for path in layout.strangers_in_active()? {
        tracing::warn!(path = %path.display(), "no log has this name; it is left alone");
    }
    let mut logs: Vec<LeftLog> = Vec::new();
    for number in layout.log_numbers()? {
        let log = layout.log_file(number);
        let synced = open_file(&log).and_then(|(file, _)| file.sync_all().context("sync", &log));
        let before = logs.last().and_then(|log| log.summary.range).map(|range| range.end);
        match synced.and_then(|()| summarise(layout, number, before)) {
            Ok(summary) => logs.push(LeftLog { number, summary }),
            Err(e) if e.is_not_found() => remove_log(layout, number)?,
            Err(WalError::Io { source, .. }) if is_bad_sector(&source) => {
                notes.push(put_aside(layout, number)?);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(logs)
}

/// A log of format 1 that has lost its header is that of the WAL, or of its neighbours.
fn name_logs_without_header(left: &mut [LeftLog], stored: &Stored) {
    let of_neighbours = left.iter().find_map(LeftLog::wal_id);
    let id = match stored {
        Stored::Old(id) => Some(*id),
        Stored::Sound(identity) | Stored::Copied(identity) => Some(identity.id),
        Stored::Missing | Stored::Damaged => of_neighbours,
    };
    for LeftLog { number, summary } in left {
        if summary.range.is_some() && summary.header.is_none() {
            summary.header = id.map(|id| LogHeader::of_v1(id, *number));
        }
    }
}

/// Where a log begins behind the end of the one before it, that one has lost its end: a batch is
/// only begun in a log once all before it are durable.
fn report_lost_ends(left: &mut [LeftLog], stored: &Stored) {
    for index in 1..left.len() {
        let [before, next] = &mut left[index - 1..=index] else { continue };
        let begins = next.summary.range.map(|range| range.first);
        let is_same_wal = before.wal_id() == next.wal_id();
        if let (Some(range), Some(begins)) = (&mut before.summary.range, begins)
            && range.end < begins
            && is_same_wal
            && before.summary.header.is_some_and(|header| header.descriptor.is_some())
        {
            let lost = LsnRange { first: range.end, end: begins };
            let offset = before.summary.data_end;
            before.summary.damage.push(Damage { offset, lost, reason: "the log's end is missing" });
            before.summary.damaged_end = None;
            range.end = begins;
        }
    }
    for LeftLog { summary, .. } in left {
        // A clean stop has noted where the LSNs end; nothing was recorded since.
        let noted = match stored {
            Stored::Sound(identity) | Stored::Copied(identity)
                if summary.header.is_some_and(|header| header.wal_id == identity.id) =>
            {
                identity.next_lsn
            }
            _ => None,
        };
        // Its LSNs are passed over, so that none is given to another event.
        if let (Some(range), Some(events)) = (&mut summary.range, summary.damaged_end)
            && let Some(end) = range.end.checked_plus(events)
            && let end = noted.map_or(end, |noted| noted.clamp(range.end, end))
            && range.end < end
        {
            let lost = LsnRange { first: range.end, end };
            let reason = "a batch with a damaged header, of so many events at most";
            summary.damage.push(Damage { offset: summary.data_end, lost, reason });
            range.end = end;
        }
    }
}

/// Whether a log is to be sealed: not if it belongs to a WAL that was never here.
fn is_ours(layout: &Layout, identity: &Identity, log: &LeftLog) -> bool {
    match log.wal_id() {
        Some(found) if !identity.owns(found) => {
            let path = layout.log_file(log.number);
            let error = WalError::ForeignSegment { path, found, expected: identity.id };
            tracing::error!("{error}; it is left alone");
            false
        }
        _ => true,
    }
}

/// Frees what the logs have prepared and not used, so that a full disk has room for a new log: a
/// spare goes whole, others lose their zeros.
fn give_back(layout: &Layout, logs: &mut Vec<LeftLog>) -> Result<(), WalError> {
    let is_spare = |log: &mut LeftLog| {
        let LogSummary { range, torn_bytes, damage, .. } = &log.summary;
        range.is_none() && *torn_bytes == 0 && damage.is_empty()
    };
    for log in logs.extract_if(.., is_spare) {
        remove_log(layout, log.number)?;
    }
    for log in logs {
        let path = layout.log_file(log.number);
        let file = OpenOptions::new().write(true).open(&path).context("open", &path)?;
        // The footer's room stays: a new block for it may not be had.
        let needed = log.summary.data_end + FOOTER_BYTES as u64;
        let is_torn = log.summary.torn_bytes > FOOTER_BYTES as u64;
        if !is_torn && file.metadata().context("stat", &path)?.len() > needed {
            file.set_len(needed).context("truncate", &path)?;
            file.sync_all().context("sync", &path)?;
        }
    }
    Ok(())
}

/// Moves a log away of which nothing can be read; returns a sentence for the operator.
fn put_aside(layout: &Layout, number: u64) -> Result<String, WalError> {
    let path = quarantine_log(layout, number)?;
    Ok(format!(
        "nothing can be read of the log {number:020}: events recorded in it are lost, how many is \
         not known; it is kept as {}",
        path.display()
    ))
}

/// Seals the logs that have events, removes those that never had any, and puts aside those of which
/// nothing tells.
fn seal_left(
    layout: &Layout,
    mut left: Vec<LeftLog>,
    report: &mut RecoveryReport,
) -> Result<(), WalError> {
    // Those without events first: what they free may be what sealing needs on a full disk.
    left.sort_by_key(|log| (log.summary.events().is_some(), log.number));
    for LeftLog { number, summary } in left {
        // A first batch that was never complete is nothing; any other trace may be of events.
        let is_torn = summary.header.is_some() && summary.damaged_end.is_none();
        let has_trace = !summary.damage.is_empty() || (summary.torn_bytes > 0 && !is_torn);
        if summary.header_of_events().is_none() && (summary.events().is_some() || has_trace) {
            report.notes.push(put_aside(layout, number)?);
            continue;
        }
        let sealed = match seal(layout, number, &summary) {
            // As after files of a copy were put over those of the WAL.
            Err(error @ WalError::SegmentExists { .. }) => {
                let path = quarantine_log(layout, number)?;
                let kept = path.display();
                report.notes.push(format!("the log {number:020} is kept as {kept}: {error}"));
                continue;
            }
            sealed => sealed?,
        };
        if let (Some(_), Some(header), Some(range)) = (sealed, summary.header, summary.range) {
            let (torn_bytes, damage) = (summary.torn_bytes, summary.damage);
            report.logs.push(RecoveredLog { wal_id: header.wal_id, range, torn_bytes, damage });
        }
    }
    Ok(())
}
