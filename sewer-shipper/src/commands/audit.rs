//! `--audit`: is every event accounted for, by its LSN, between the destination and the local disk?
//!
//! Everything that holds LSNs of a WAL is a *claim*: the final files of a shipment together, by
//! their names and the metadata in their headers; a sealed segment, by its footer; an active log,
//! by its batches, and by the next LSN that even an empty one carries. Claims must join without a
//! gap and without an overlap. What quarantine reports name as lost explains a gap, and is still a
//! loss; so is a loss of which nothing tells how much. Each identity that the directory has had is
//! audited.
//!
//! It only reads, and it may run beside a pixel and a shipper. It looks in the direction in which
//! events go, so that one that moves is seen twice rather than never. A shipment under way is known
//! by its plan: until all of it is published its segments count, afterwards its files. What looks
//! wrong while something moved is looked at again.
//!
//! It trusts what is under a CRC or was confirmed: the content of files is not read beyond the
//! header, and that of sealed segments with header and footer is `sewer-wal verify`'s business.

mod files;
mod judge;
mod local;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sewer_ops::say;
use sewer_wal::{Identity, Layout, LsnRange, SegmentName, WalId, look_up_identity};

use crate::config::Config;
use crate::destination::{self, Destination};
use crate::plan::journal::{Journal, JournalError};
use crate::plan::{DamageReport, DamagedSegment, FileName, Found, Plan};
use crate::record::partition::{Partitions, fixed_part};
use crate::ship::quarantine;

/// How often it looks again while things move.
const LOOKS_MAX: u32 = 10;
/// How long it waits before.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The final files of one shipment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    count: u64,
    records: u64,
    directories: BTreeSet<String>,
}

/// A file or a log on the local disk that holds LSNs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Local {
    path: PathBuf,
    /// The name of a sealed segment; `None` for a log.
    name: Option<SegmentName>,
    range: LsnRange,
    /// What of the range is lost in it.
    damage: Vec<DamageReport>,
    /// The partitions of its first and its last event, as far as its footer tells.
    places: Option<(String, String)>,
}

/// All that was seen of one WAL.
#[derive(Debug, Default)]
struct Seen {
    local: Vec<Local>,
    plans: Vec<Plan>,
    /// What plans and reports say of damaged segments.
    damaged: Vec<DamagedSegment>,
    /// By the names of the files.
    shipments: BTreeMap<FileName, Files>,
}

/// All that was seen in one look.
#[derive(Debug, Default)]
struct Look {
    wals: BTreeMap<WalId, Seen>,
    notes: Vec<String>,
    problems: Vec<String>,
    /// Whether something moved while it was looked at.
    moved: bool,
}

/// Prints what holds which LSNs, and a line for each gap, overlap and mismatch; `true` if there is
/// none, from the first to the last LSN seen. `other_wal` is looked at instead of the configured
/// WAL.
///
/// # Errors
/// If the WAL, the journal or the destination cannot be read.
pub async fn run(config: &Config, other_wal: Option<&Path>) -> anyhow::Result<bool> {
    let layout = Layout::new(other_wal.unwrap_or(&config.wal.dir));
    let dir = layout.root().display();
    let destination = destination::open(&config.destination.uri, config.destination_options())?;
    let root = fixed_part(&config.destination.path);
    let (mut looks, is_own) = (1, other_wal.is_none());
    let (identity, look, lines) = loop {
        let identity = look_up_identity(&layout)?;
        let identity = identity.with_context(|| format!("there is no WAL in {dir}"))?;
        let plans = || Journal::of(&layout).look(&config.shipper.dir, &identity, is_own);
        let look = look(&layout, &identity, &plans, config, &*destination).await?;
        let lines: BTreeMap<_, _> =
            look.wals.iter().map(|(id, seen)| (*id, judge::lines(seen))).collect();
        let is_sound = look.problems.is_empty() && lines.values().all(Vec::is_empty);
        if is_sound || !look.moved || looks == LOOKS_MAX {
            break (identity, look, lines);
        }
        looks += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let id = identity.id;
    say!("auditing the WAL {id} in {dir} and in {root} of {}", destination.describe());
    let mut problems = report(&look.wals[&id], &lines[&id], &look);
    for (id, seen) in look.wals.iter().filter(|(id, seen)| **id != identity.id && !seen.is_empty())
    {
        say!("of the WAL {id}, which was recorded here earlier:");
        problems += report(seen, &lines[id], &Look::default());
    }
    Ok(problems == 0)
}

/// Prints what was seen of a WAL, the lines about it, and what is not known to be of any; returns
/// the number of problems.
fn report(seen: &Seen, lines: &[String], look: &Look) -> usize {
    let files: u64 = seen.shipments.values().map(|files| files.count).sum();
    let records: u64 = seen.shipments.values().map(|files| files.records).sum();
    say!("destination: {} shipments, {files} files, {records} records", seen.shipments.len());
    let (sealed, active): (Vec<_>, Vec<_>) =
        seen.local.iter().partition(|local| local.name.is_some());
    for (what, locals) in [("sealed segments", sealed), ("active logs", active)] {
        let events: u64 = locals.iter().map(|local| local.events()).sum();
        say!("local: {} {what}, {events} events", locals.len());
    }
    for line in look.notes.iter().chain(&look.problems).chain(lines) {
        say!("{line}");
    }
    let problems = lines.len() + look.problems.len();
    match (judge::span(seen), problems) {
        (None, 0) => say!("complete: no event was ever recorded, or none is left"),
        (Some((first, last)), 0) => say!("complete from LSN {first} to LSN {last}"),
        (_, problems) => say!("NOT complete: {problems} problems, named above"),
    }
    problems
}

async fn look(
    layout: &Layout,
    identity: &Identity,
    plans: &(dyn Fn() -> Result<Found, JournalError> + Sync),
    config: &Config,
    destination: &dyn Destination,
) -> anyhow::Result<Look> {
    let mut look = Look::of(identity);
    local::look_at_logs(layout, &mut look)?;
    local::look_at_segments(layout, identity, partitions(config, identity)?, &mut look)?;
    let found = plans()?;
    look.problems.extend(found.damaged.iter().map(|plan| format!("HELD BACK {plan}")));
    for plan in &found.plans {
        let seen = look.wals.entry(plan.wal_id).or_default();
        seen.damaged.extend(plan.damaged.iter().cloned());
        seen.plans.push(plan.clone());
    }
    files::look_at_destination(destination, &fixed_part(&config.destination.path), &mut look)
        .await?;
    // Reports are written before a plan goes, and plans are read before.
    let quarantined = quarantine::look(layout)?;
    look.problems.extend(quarantined.problems);
    for (wal_id, segment) in quarantined.reports {
        let Some(seen) = look.wals.get_mut(&wal_id) else {
            look.notes.push(format!("{} in quarantine is of the WAL {wal_id}", segment.name));
            continue;
        };
        // The report of a plan that is not finished yet.
        if !seen.damaged.contains(&segment) {
            seen.damaged.push(segment);
        }
    }
    let is_gone = |local: &Local| !local.path.exists();
    look.moved |=
        found != plans()? || look.wals.values().any(|seen| seen.local.iter().any(is_gone));
    Ok(look)
}

/// Where events belong, as it is configured now.
fn partitions(config: &Config, identity: &Identity) -> anyhow::Result<Partitions> {
    let (destination, host) = (&config.destination, &config.shipper.host);
    let id = identity.id.to_string();
    Partitions::new(&destination.path, &destination.timezone, host, &id).map_err(anyhow::Error::msg)
}

impl Local {
    /// The events that it has.
    fn events(&self) -> u64 {
        let lost = self.damage.iter().filter_map(DamageReport::range).map(LsnRange::count);
        self.range.count().saturating_sub(lost.fold(0, u64::saturating_add))
    }
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.local.is_empty()
            && self.plans.is_empty()
            && self.damaged.is_empty()
            && self.shipments.is_empty()
    }
}

impl Look {
    /// Nothing seen yet of any of the identities.
    fn of(identity: &Identity) -> Self {
        let ids = [identity.id].into_iter().chain(identity.earlier.iter().copied());
        let wals = ids.map(|id| (id, Seen::default())).collect();
        Self { wals, ..Self::default() }
    }
}
