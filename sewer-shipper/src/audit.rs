//! `--audit`: is every event accounted for, by its LSN, between the destination and the local disk?
//!
//! Everything that holds LSNs is a *claim*: the final files of a shipment together, by their names
//! and the metadata in their headers; a sealed segment, by its footer; an active log, by its
//! batches, and by the next LSN that even an empty one carries. Claims must join without a gap and
//! without an overlap. What quarantine reports name as lost explains a gap, and is still a loss.
//!
//! It only reads, and it may run beside a pixel and a shipper. It looks in the direction in which
//! events go, so that one that moves is seen twice rather than never. A shipment under way is known
//! by its plan: until all of it is published its segments count, afterwards its files. What looks
//! wrong while something moved is looked at again.
//!
//! It trusts what is under a CRC or a confirmed length: the content of files is not read beyond the
//! header, and that of sealed segments is `sewer-wal verify`'s business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sewer_ops::say;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Layout, Lsn, LsnRange, SegmentReader, WalError, WalId, sealed};

use crate::check::fixed_part;
use crate::config::Config;
use crate::destination::{self, Destination};
use crate::journal::Journal;
use crate::plan::{DamagedSegment, Plan};
use crate::quarantine;
use crate::sequence_file::{ReadError, Reader};

/// How often it looks again while things move.
const LOOKS_MAX: u32 = 10;
/// How long it waits before.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A tree with more directories is not one of ours.
const DIRECTORIES_MAX: usize = 1_000_000;

/// The final files of one shipment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    count: u64,
    records: u64,
}

/// A file or a log on the local disk that holds LSNs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Local {
    path: PathBuf,
    range: LsnRange,
    is_sealed: bool,
}

/// All that was seen in one look.
#[derive(Debug, Default)]
struct Seen {
    local: Vec<Local>,
    plans: Vec<Plan>,
    lost: Vec<LsnRange>,
    /// By host, first and last LSN, as the names tell.
    shipments: BTreeMap<(String, Lsn, Lsn), Files>,
    notes: Vec<String>,
    problems: Vec<String>,
    /// Whether something moved while it was looked at.
    moved: bool,
}

/// Prints what holds which LSNs, and a line for each gap, overlap and mismatch; `true` if there is
/// none, from the first to the last LSN seen. `other_wal` is looked at instead of the configured WAL.
///
/// # Errors
/// If the WAL, the journal or the destination cannot be read.
pub async fn run(config: &Config, other_wal: Option<&Path>) -> anyhow::Result<bool> {
    let layout = Layout::new(other_wal.unwrap_or(&config.wal.dir));
    let dir = layout.root().display();
    let wal_id = WalId::load(&layout)?.with_context(|| format!("there is no WAL in {dir}"))?;
    let journal = Journal::dir_for(&config.shipper.dir, wal_id, other_wal.is_none());
    let destination = destination::open(&config.destination.uri, config.destination_options())?;
    let root = fixed_part(&config.destination.path);
    say!("auditing the WAL {wal_id} in {dir} and in {root} of {}", destination.describe());
    let mut looks = 1;
    let (seen, lines) = loop {
        let seen = look(&layout, wal_id, &journal, &*destination, &root).await?;
        let lines = judge(&seen);
        if (lines.is_empty() && seen.problems.is_empty()) || !seen.moved || looks == LOOKS_MAX {
            break (seen, lines);
        }
        looks += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    Ok(report(&seen, &lines))
}

fn report(seen: &Seen, lines: &[String]) -> bool {
    let files: u64 = seen.shipments.values().map(|files| files.count).sum();
    let records: u64 = seen.shipments.values().map(|files| files.records).sum();
    say!("destination: {} shipments, {files} files, {records} records", seen.shipments.len());
    let (sealed, active): (Vec<_>, Vec<_>) = seen.local.iter().partition(|local| local.is_sealed);
    for (what, locals) in [("sealed segments", sealed), ("active logs", active)] {
        let events: u64 = locals.iter().map(|local| local.range.count()).sum();
        say!("local: {} {what}, {events} events", locals.len());
    }
    for line in seen.notes.iter().chain(&seen.problems).chain(lines) {
        say!("{line}");
    }
    let (claims, _) = claims(seen);
    let first = claims.iter().map(|claim| claim.range.first).min();
    let last = claims.iter().filter_map(|claim| claim.range.last()).max();
    let problems = lines.len() + seen.problems.len();
    match (first.zip(last), problems) {
        (None, 0) => say!("complete: no event was ever recorded, or none is left"),
        (Some((first, last)), 0) => say!("complete from LSN {first} to LSN {last}"),
        (_, problems) => say!("NOT complete: {problems} problems, named above"),
    }
    problems == 0
}

async fn look(
    layout: &Layout,
    wal_id: WalId,
    journal: &Path,
    destination: &dyn Destination,
    root: &str,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    look_at_logs(layout, wal_id, &mut seen)?;
    look_at_segments(layout, wal_id, &mut seen)?;
    seen.plans = Journal::look(journal, wal_id)?;
    look_at_destination(destination, root, wal_id, &mut seen).await?;
    // Reports are written before a plan goes, and plans are read before.
    seen.lost = lost(layout, &seen.plans)?;
    seen.moved = seen.plans != Journal::look(journal, wal_id)?
        || seen.local.iter().any(|local| !local.path.exists());
    Ok(seen)
}

fn look_at_logs(layout: &Layout, wal_id: WalId, seen: &mut Seen) -> Result<(), WalError> {
    // The newest first: no log gets a batch before the one before it has got its last, so that what
    // is added meanwhile is never a gap between two of them.
    for number in layout.log_numbers()?.into_iter().rev() {
        let path = layout.log_file(number);
        let mut reader = match SegmentReader::open(&path, Kind::Active) {
            Err(e) if e.is_not_found() => continue,
            Err(e) => {
                seen.problems.push(format!("UNREADABLE {e}"));
                continue;
            }
            Ok(reader) => reader,
        };
        if let Some(found) = reader.header().map(|h| h.wal_id).filter(|found| *found != wal_id) {
            let error = WalError::ForeignSegment { path, found, expected: wal_id };
            seen.problems.push(format!("FOREIGN {error}"));
            continue;
        }
        let mut first = None;
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Batch(batch) => drop(first.get_or_insert(batch.range.first)),
                Item::Damage(damage) if damage.lost.is_empty() => {}
                Item::Damage(damage) => seen.problems.push(format!(
                    "DAMAGED {}: LSN {} lost: {}",
                    path.display(),
                    damage.lost,
                    damage.reason
                )),
            }
        }
        if let Some((first, end)) = first.zip(reader.next_lsn()) {
            seen.local.push(Local { path, range: LsnRange { first, end }, is_sealed: false });
        }
    }
    Ok(())
}

fn look_at_segments(layout: &Layout, wal_id: WalId, seen: &mut Seen) -> Result<(), WalError> {
    for path in layout.strangers_in_sealed()? {
        seen.problems.push(format!("FOREIGN {}", WalError::Stranger { path }));
    }
    for segment in sealed::list(layout)? {
        let range = match sealed::inspect(&segment, wal_id) {
            Ok(Some(footer)) => Ok(footer.range()),
            Ok(None) => data_range(&segment),
            Err(e) => Err(e),
        };
        match range {
            Ok(range) => seen.local.push(Local { path: segment.path, range, is_sealed: true }),
            Err(e) if e.is_not_found() => seen.moved = true,
            Err(e) => seen.problems.push(format!("NOT COUNTED {e}")),
        }
    }
    Ok(())
}

/// What a segment without an intact footer spans, by its batches.
fn data_range(segment: &sealed::SealedSegment) -> Result<LsnRange, WalError> {
    let mut reader = SegmentReader::open(&segment.path, Kind::Sealed)?;
    while reader.next_item()?.is_some() {}
    let end = reader.next_lsn().unwrap_or(segment.base);
    Ok(LsnRange { first: segment.base, end: end.max(segment.base) })
}

/// The LSNs lost to damage, by the reports in quarantine and by plans not finished.
fn lost(layout: &Layout, plans: &[Plan]) -> anyhow::Result<Vec<LsnRange>> {
    let mut damaged: Vec<DamagedSegment> = quarantine::reports(layout)?;
    damaged.extend(plans.iter().flat_map(|plan| plan.damaged.clone()));
    let damage = damaged.iter().flat_map(|segment| &segment.damage);
    let ends = damage.filter_map(|damage| damage.first_lost_lsn.zip(damage.last_lost_lsn));
    let mut lost: Vec<_> =
        ends.map(|(first, last)| LsnRange { first, end: last.plus(1) }).collect();
    lost.sort_unstable_by_key(|range| (range.first, range.end));
    // A plan whose report is written already.
    lost.dedup();
    Ok(lost)
}

async fn look_at_destination(
    destination: &dyn Destination,
    root: &str,
    wal_id: WalId,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let mut directories = vec![root.to_owned()];
    let mut visited = 0;
    while let Some(directory) = directories.pop() {
        visited += 1;
        if visited > DIRECTORIES_MAX {
            bail!("{root} has more than {DIRECTORIES_MAX} directories below it");
        }
        for entry in destination.list(&directory).await? {
            let path = format!("{}/{}", directory.trim_end_matches('/'), entry.name);
            if entry.is_dir {
                directories.push(path);
            } else if entry.name.starts_with('.') {
                if entry.name.contains(&format!("-{wal_id}-")) {
                    seen.notes.push(format!("hidden, not counted: {path}"));
                }
            } else if let Some(key) = parse_name(&entry.name, wal_id) {
                match records(destination, &path, wal_id, (key.1, key.2)).await? {
                    Ok(records) => {
                        let files = seen.shipments.entry(key).or_default();
                        files.count += 1;
                        files.records = files.records.saturating_add(records);
                    }
                    Err(why) => seen.problems.push(format!("NOT COUNTED {path}: {why}")),
                }
            }
        }
    }
    Ok(())
}

/// Host, first and last LSN of `<host>-<WAL id>-<first>-<last>.seq`, if it is of this WAL.
fn parse_name(name: &str, wal_id: WalId) -> Option<(String, Lsn, Lsn)> {
    let mut parts = name.strip_suffix(".seq")?.rsplitn(4, '-');
    let (last, first) = (Lsn::from_padded(parts.next()?)?, Lsn::from_padded(parts.next()?)?);
    let is_ours = parts.next()? == wal_id.to_string() && first <= last;
    let host = parts.next()?;
    is_ours.then(|| (host.to_owned(), first, last))
}

/// The records that a file's header tells, or why they cannot be counted.
async fn records(
    destination: &dyn Destination,
    path: &str,
    wal_id: WalId,
    (first, last): (Lsn, Lsn),
) -> anyhow::Result<Result<u64, String>> {
    let mut chunks = destination.read(path).await?;
    let mut head = Vec::new();
    let header = loop {
        let more = chunks.next().await.transpose()?;
        let is_end = more.is_none();
        head.extend_from_slice(&more.unwrap_or_default());
        // A header is below 1 MiB, so that this ends with the second chunk at the latest.
        match Reader::new(&head[..]) {
            Ok(reader) => break reader.header().clone(),
            Err(ReadError::Truncated { .. }) if !is_end => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    };
    let told = |name: &str| header.metadata.get(name).map_or("", String::as_str);
    let expected = [wal_id.to_string(), first.to_string(), last.to_string()];
    let found = ["sewer.wal_id", "sewer.first_lsn", "sewer.last_lsn"].map(told);
    if found != expected {
        let found = found.join(" ");
        return Ok(Err(format!("its header is that of another file (WAL and LSNs {found})")));
    }
    Ok(told("sewer.records").parse().map_err(|_| "its header tells no number of records".into()))
}

/// LSNs that something accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    range: LsnRange,
    by: String,
}

/// What counts, and what is wrong with the number of records.
fn claims(seen: &Seen) -> (Vec<Claim>, Vec<String>) {
    let (mut claims, mut lines) = (Vec::new(), Vec::new());
    let plan_of = |range: LsnRange| {
        let same =
            |plan: &&Plan| (plan.first_lsn, plan.last_lsn.plus(1)) == (range.first, range.end);
        seen.plans.iter().find(same)
    };
    for ((host, first, last), files) in &seen.shipments {
        let range = LsnRange { first: *first, end: last.plus(1) };
        if plan_of(range).is_some_and(|plan| !plan.published) {
            continue; // its segments count until all of it is published
        }
        let expected = range.count() - lost_within(range, &seen.lost);
        let Files { count, records } = files;
        if *records < expected {
            let missing = expected - records;
            lines.push(format!(
                "GAP LSN {range}: {missing} of {expected} records are in none of its {count} files"
            ));
        } else if *records > expected {
            let more = records - expected;
            lines.push(format!(
                "OVERLAP LSN {range}: {more} records more than {expected} are in its {count} files"
            ));
        }
        claims.push(Claim { range, by: format!("the files {host}-*-{first}-{last}.seq") });
    }
    let shipped: Vec<Lsn> =
        seen.plans.iter().filter(|plan| plan.published).flat_map(|p| p.segments.clone()).collect();
    let sealed: Vec<_> = seen.local.iter().filter(|l| l.is_sealed).map(|l| l.range).collect();
    for local in &seen.local {
        let is_counted_elsewhere = if local.is_sealed {
            shipped.contains(&local.range.first)
        } else {
            // A power cut can leave both names of what was being sealed.
            !local.range.is_empty() && sealed.contains(&local.range)
        };
        if !is_counted_elsewhere {
            let by = local.path.display().to_string();
            claims.push(Claim { range: local.range, by });
        }
    }
    claims.sort_by_key(|claim| (claim.range.first, claim.range.end));
    (claims, lines)
}

fn lost_within(range: LsnRange, lost: &[LsnRange]) -> u64 {
    let inside = lost.iter().map(|lost| {
        let (first, end) = (lost.first.max(range.first), lost.end.min(range.end));
        end.since(first)
    });
    inside.fold(0, u64::saturating_add).min(range.count())
}

/// A line for everything that keeps the claims from being complete.
fn judge(seen: &Seen) -> Vec<String> {
    let (claims, mut lines) = claims(seen);
    let mut reached: Option<&Claim> = None;
    for claim in &claims {
        if let Some(before) = reached {
            let end = before.range.end;
            if claim.range.first > end {
                gap(LsnRange { first: end, end: claim.range.first }, &seen.lost, &mut lines);
            } else if claim.range.first < end && !claim.range.is_empty() {
                let both = LsnRange { first: claim.range.first, end: claim.range.end.min(end) };
                let (one, other) = (&before.by, &claim.by);
                lines.push(format!("OVERLAP LSN {both}: both in {one} and in {other}"));
            }
        }
        if reached.is_none_or(|before| claim.range.end > before.range.end) {
            reached = Some(claim);
        }
    }
    lines.extend(seen.lost.iter().map(|lost| format!("LOST to damage, as reported: LSN {lost}")));
    lines
}

/// Names what of a gap no report explains.
fn gap(gap: LsnRange, lost: &[LsnRange], lines: &mut Vec<String>) {
    let mut next = gap.first;
    let end = LsnRange { first: gap.end, end: gap.end };
    for lost in
        lost.iter().filter(|lost| lost.end > gap.first && lost.first < gap.end).chain([&end])
    {
        if lost.first > next {
            let missing = LsnRange { first: next, end: lost.first };
            lines.push(format!("GAP LSN {missing}: {} events are nowhere", missing.count()));
        }
        next = next.max(lost.end);
    }
}
