//! Under which identity, and from which LSN on, a WAL goes on.
//!
//! The id stands in the file `ID` and in every log; the next LSN in the newest log, and after a
//! clean stop in `ID` as well. One damaged file costs neither. LSNs of logs still in `active/` were
//! never shipped, for logs are sealed in order; so it is safe to go on from the end of what can be
//! read of them. Where nothing tells, or where the directory is a copy of one that may have gone on
//! elsewhere, a new identity begins at LSN 0: no name is ever given to two events. What the old one
//! left is shipped under its own.

use std::collections::BTreeSet;

use crate::error::WalError;
use crate::format::footer::Footer;
use crate::format::header::LogHeader;
use crate::identity::{Identity, SegmentName, WalId};
use crate::layout::Layout;
use crate::lock::{self, Stored};
use crate::log::summary::LeftLog;
use crate::lsn::Lsn;
use crate::reader::{Item, Kind, SegmentReader};

/// The earlier identities that are remembered, at most; more are forgotten from the oldest on.
const EARLIER_MAX: usize = 256;

/// The way in which a WAL goes on.
#[derive(Debug)]
pub(crate) struct Next {
    pub identity: Identity,
    /// `None` if nothing tells, and nothing is to be recorded.
    pub lsn: Option<Lsn>,
    /// Whether there was no WAL before.
    pub created: bool,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

/// Decides how the WAL goes on. `is_to_append`: events are about to be recorded, so that a copy
/// must not use the identity of what it is a copy of. `is_copied`: the file `LOCK` tells that the
/// directory is one, which counts where `ID` tells nothing.
pub(crate) fn decide(
    layout: &Layout,
    stored: &Stored,
    left: &[LeftLog],
    is_to_append: bool,
    is_copied: bool,
) -> Result<Next, WalError> {
    let path = layout.id_file();
    let path = path.display();
    let is_strange = match stored {
        Stored::Sound(identity) | Stored::Copied(identity) => is_strange(layout, identity, left)?,
        _ => false,
    };
    match stored {
        Stored::Copied(identity) if is_to_append && !is_strange => {
            let why = format!(
                "{path} was written to another file: this directory is a copy of the WAL {}",
                identity.id
            );
            // Also what is here of others: a copy over what was there before leaves some.
            let ids = all_ids(identity).into_iter().chain(found_ids(layout, left)?);
            begin(layout, without_doubles(ids), left, &why)
        }
        Stored::Sound(identity) | Stored::Copied(identity) if !is_strange => {
            match next_lsn(layout, identity.id, identity.next_lsn, left)? {
                None if is_to_append => {
                    begin(layout, all_ids(identity), left, &unknown_lsn(identity.id))
                }
                lsn => Ok(go_on(identity.clone(), lsn, None)),
            }
        }
        Stored::Old(id)
            if !(is_copied && is_to_append) && next_lsn(layout, *id, None, left)?.is_some() =>
        {
            let lsn = next_lsn(layout, *id, None, left)?;
            Ok(go_on(Identity::new(*id), lsn, None))
        }
        _ => {
            let problem = match stored {
                Stored::Missing => "is missing",
                Stored::Damaged => "is damaged",
                Stored::Old(_) if is_copied => "has no checksum",
                Stored::Old(_) => "names a WAL that has no log here",
                _ => "names a WAL that has left nothing here",
            };
            if !(is_copied && is_to_append)
                && let Some(identity) = told_by_logs(layout, left)?
                && let Some(lsn) = next_lsn(layout, identity.id, None, left)?
            {
                let id = identity.id;
                let note = format!("{path} {problem}; the logs tell the WAL {id}, which goes on");
                return Ok(go_on(identity, Some(lsn), Some(note)));
            }
            if !is_to_append {
                let identity = look(layout)?.unwrap_or_else(|| Identity::new(WalId::random()));
                return Ok(go_on(identity, None, None));
            }
            let nothing_left = layout.sealed_names()?.is_empty()
                && left.iter().all(|log| log.summary.events().is_none());
            if *stored == Stored::Missing && nothing_left {
                let mut next = begin(layout, Vec::new(), left, "")?;
                (next.created, next.notes) = (true, Vec::new());
                return Ok(next);
            }
            let mut earlier = found_ids(layout, left)?;
            if let Stored::Old(id) = stored {
                earlier.push(*id);
            }
            begin(layout, without_doubles(earlier), left, &format!("{path} {problem}"))
        }
    }
}

/// Whether the file `ID` is that of another WAL: nothing here is of an id that it names, and
/// something is of one that it does not. (A WAL has a log of its own but for damage.)
fn is_strange(layout: &Layout, identity: &Identity, left: &[LeftLog]) -> Result<bool, WalError> {
    if left.iter().filter_map(LeftLog::wal_id).any(|id| identity.owns(id)) {
        return Ok(false);
    }
    let found = found_ids(layout, left)?;
    Ok(!found.is_empty() && !found.iter().any(|id| identity.owns(*id)))
}

fn unknown_lsn(id: WalId) -> String {
    format!("nothing tells where the LSNs of the WAL {id} go on")
}

/// The identity of a WAL as a reader sees it, who changes nothing: by the file `ID`, or, if that is
/// damaged, by what lies in the directory. `None` if there is no WAL.
pub(crate) fn look(layout: &Layout) -> Result<Option<Identity>, WalError> {
    match lock::load(layout)? {
        Stored::Sound(identity) | Stored::Copied(identity) => Ok(Some(identity)),
        Stored::Old(id) => Ok(Some(Identity::new(id))),
        stored => {
            let mut headers = Vec::new();
            for number in layout.log_numbers()?.into_iter().rev() {
                match SegmentReader::open(&layout.log_file(number), Kind::Active) {
                    Ok(reader) => headers.extend(reader.header()),
                    Err(e) if e.is_not_found() => {}
                    Err(e) => tracing::warn!(error = %e, "a log is passed over"),
                }
            }
            let sealed = sealed_ids(layout)?;
            let newest = headers.first().map(|header| header.wal_id);
            let Some(id) = newest.or(sealed.last().copied()) else {
                let path = layout.id_file();
                let is_gone = stored == Stored::Missing;
                return if is_gone { Ok(None) } else { Err(WalError::BadIdentity { path }) };
            };
            let own_names = headers.first().is_some_and(LogHeader::has_own_names);
            let ids = sealed.into_iter().chain(headers.iter().map(|header| header.wal_id));
            let earlier = without_doubles(ids.filter(|other| *other != id));
            Ok(Some(Identity { own_names, earlier, ..Identity::new(id) }))
        }
    }
}

/// The identity of the newest log with batches, with all others that left something here.
fn told_by_logs(layout: &Layout, left: &[LeftLog]) -> Result<Option<Identity>, WalError> {
    let newest = left.iter().rev().find(|log| log.summary.range.is_some());
    let Some(header) = newest.and_then(|log| log.summary.header) else { return Ok(None) };
    let earlier = found_ids(layout, left)?.into_iter().filter(|id| *id != header.wal_id).collect();
    let own_names = header.has_own_names();
    Ok(Some(Identity { own_names, earlier, ..Identity::new(header.wal_id) }))
}

/// All ids that something in the directory carries, that of plain names first.
fn found_ids(layout: &Layout, left: &[LeftLog]) -> Result<Vec<WalId>, WalError> {
    let sealed = sealed_ids(layout)?;
    Ok(without_doubles(sealed.into_iter().chain(left.iter().filter_map(LeftLog::wal_id))))
}

fn sealed_ids(layout: &Layout) -> Result<Vec<WalId>, WalError> {
    let mut ids = Vec::new();
    for name in layout.sealed_names()? {
        let path = layout.sealed_file(name);
        match name.wal_id {
            Some(id) => ids.push(id),
            None => match Footer::load(&path) {
                Ok(footer) => ids.extend(footer.map(|footer| footer.wal_id)),
                Err(e) if e.is_not_found() => {}
                Err(e) => tracing::warn!(error = %e, "a segment is passed over"),
            },
        }
    }
    Ok(without_doubles(ids))
}

fn without_doubles(ids: impl IntoIterator<Item = WalId>) -> Vec<WalId> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).collect()
}

/// Every id of an identity: that of plain names, then from the newest on. They outlive their
/// segments: a plan, or a report of what is lost, may be all that is left of one.
fn all_ids(identity: &Identity) -> Vec<WalId> {
    let first = [identity.of_plain_names(), identity.id];
    without_doubles(first.into_iter().chain(identity.earlier.iter().copied()))
}

fn go_on(identity: Identity, lsn: Option<Lsn>, note: Option<String>) -> Next {
    let identity = Identity { next_lsn: None, born: None, ..identity };
    Next { identity, lsn, created: false, notes: note.into_iter().collect() }
}

fn has_plain_names(layout: &Layout) -> Result<bool, WalError> {
    let names = [layout.sealed_names()?, layout.quarantined_names()?].concat();
    Ok(names.iter().any(|name| name.wal_id.is_none()))
}

/// A new identity beside the earlier ones, of which that of plain names is the first.
fn begin(
    layout: &Layout,
    mut earlier: Vec<WalId>,
    left: &[LeftLog],
    why: &str,
) -> Result<Next, WalError> {
    earlier.truncate(EARLIER_MAX);
    let id = WalId::random();
    let has_events = left.iter().any(|log| log.summary.events().is_some());
    let own_names = has_events || has_plain_names(layout)?;
    let note = format!(
        "{why}; new events are recorded as the WAL {id}, from LSN 0, and what is left here is \
         shipped under its own name"
    );
    let identity = Identity { own_names, earlier, ..Identity::new(id) };
    Ok(Next { identity, lsn: Some(Lsn(0)), created: false, notes: vec![note] })
}

/// The LSN after everything local of this id: by the logs, by what a clean stop has noted, and by
/// the newest sealed segment; `None` if neither log nor note tells.
fn next_lsn(
    layout: &Layout,
    id: WalId,
    noted: Option<Lsn>,
    left: &[LeftLog],
) -> Result<Option<Lsn>, WalError> {
    let logs = left.iter().filter(|log| log.wal_id() == Some(id));
    let by_logs = logs.filter_map(|log| log.summary.range).map(|range| range.end).max();
    let Some(known) = by_logs.max(noted) else { return Ok(None) };
    let mut newest = None;
    for name in layout.sealed_names()? {
        if name.wal_id.is_none_or(|named| named == id) {
            newest = newest.max(Some((name.base, name)));
        }
    }
    let Some((_, name)) = newest else { return Ok(Some(known)) };
    match sealed_end(layout, id, name, known) {
        Ok(end) => Ok(Some(end.max(known))),
        Err(e) if e.is_not_found() => Ok(Some(known)),
        // A log's first batch is durable before its predecessor is sealed, so the logs know.
        Err(error) => {
            tracing::warn!(%error, "the newest sealed segment is not asked for its last LSN");
            Ok(Some(known))
        }
    }
}

/// The LSN after a sealed segment, which is hardly ever beyond that of the logs. A footer that says
/// so is not believed without the data: one flipped bit would cost most of all LSNs.
fn sealed_end(layout: &Layout, id: WalId, name: SegmentName, known: Lsn) -> Result<Lsn, WalError> {
    let mut reader = SegmentReader::open(&layout.sealed_file(name), Kind::Sealed)?;
    let found = reader.header().map(|header| header.wal_id);
    if found.or(reader.footer().map(|footer| footer.wal_id)) != Some(id) {
        return Ok(known);
    }
    let footer_end = reader.footer().map(|footer| footer.range().end);
    if let Some(end) = footer_end.filter(|end| *end <= known) {
        return Ok(end);
    }
    let mut end = name.base;
    while let Some(item) = reader.next_item()? {
        if let Item::Batch(batch) = item {
            end = batch.range.end;
        }
    }
    Ok(footer_end.filter(|_| reader.is_as_sealed()).unwrap_or(end))
}
