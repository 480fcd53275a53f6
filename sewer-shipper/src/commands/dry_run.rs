//! `--replay --dry-run`: the shipments that a replay would make, file by file. It reads all that is
//! sealed and changes nothing, also beside a shipper that runs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use bytesize::ByteSize;
use sewer_ops::say;
use sewer_wal::reader::Kind;
use sewer_wal::{Layout, SegmentReader, look_up_identity};

use crate::config::Config;
use crate::plan::backlog::Backlog;
use crate::plan::journal::Journal;
use crate::plan::{self, Plan};

/// Prints the plan of a replay of the configured WAL, or of that in `other_wal`.
///
/// # Errors
/// If the WAL or the journal cannot be read.
pub fn run(config: &Config, other_wal: Option<&Path>) -> anyhow::Result<()> {
    let layout = Layout::new(other_wal.unwrap_or(&config.wal.dir));
    let dir = layout.root().display();
    let identity = look_up_identity(&layout)?;
    let identity = identity.with_context(|| format!("there is no WAL in {dir}"))?;
    let wal_id = identity.id;
    let (journal, is_own) = (Journal::of(&layout), other_wal.is_none());
    let noted = if is_own { None } else { journal.host(&identity)? };
    let host = noted.unwrap_or_else(|| config.shipper.host.clone());
    say!("dry run: the WAL {wal_id} in {dir}, to {}", config.destination.uri);
    let (mut shipments, mut files, mut events) = (0, 0, 0);
    let mut show = |plan: &Plan, note: &str| {
        let of_wal = if plan.wal_id == wal_id {
            String::new()
        } else {
            format!(" of the WAL {}", plan.wal_id)
        };
        print(plan, &of_wal, note);
        shipments += 1;
        files += plan.outputs.iter().filter(|output| !output.published).count();
        events += plan.records();
    };
    let mut claimed = BTreeSet::new();
    let found = journal.look(&config.shipper.dir, &identity, is_own)?;
    for plan in found.plans {
        show(
            &plan,
            if plan.published { ", published, to be deleted" } else { ", already planned" },
        );
        claimed.extend(plan.segments);
    }
    let mut backlog = Backlog::new(layout.clone(), identity);
    backlog.refresh()?;
    backlog.hold(found.damaged.iter().map(|plan| plan.name).collect());
    while let Some(due) = backlog.due(&config.roll, &claimed, true) {
        let segments: Vec<_> = due.segments.iter().map(|segment| segment.name).collect();
        match plan::make(&layout, backlog.identity(), &due, config, &host) {
            Ok(plan) => show(&plan, ""),
            Err(error) => say!("  not shipped: {error}"),
        }
        claimed.extend(segments);
    }
    for plan in &found.damaged {
        say!("  not shipped: {plan}");
    }
    for problem in backlog.problems() {
        say!("  not shipped: {problem}");
    }
    let active = active_events(&layout)?;
    say!("{shipments} shipments, {files} files to be published, {events} events");
    if active > 0 {
        say!(
            "{active} events are in active/: a replay seals and ships them too, unless the pixel \
             runs"
        );
    }
    Ok(())
}

fn print(plan: &Plan, of_wal: &str, note: &str) {
    let (first, last) = (plan.first_lsn, plan.last_lsn);
    let segments = plan.segments.len();
    say!(
        "shipment LSN {first} to {last}{of_wal}: {segments} segments, {} events{note}",
        plan.records()
    );
    for output in &plan.outputs {
        let size = output
            .confirmed
            .map_or(String::new(), |content| format!(" ({})", ByteSize(content.bytes)));
        let done = if output.published { format!(", published{size}") } else { String::new() };
        say!("  {}: {} events{done}", output.final_path(), output.records);
    }
    for segment in &plan.damaged {
        say!("  segment {} is damaged: {}", segment.name, segment.losses());
    }
}

/// The events that are in no sealed segment yet.
fn active_events(layout: &Layout) -> anyhow::Result<u64> {
    let mut events = 0;
    for number in layout.log_numbers()? {
        let mut reader = match SegmentReader::open(&layout.log_file(number), Kind::Active) {
            Err(e) if e.is_not_found() => continue,
            reader => reader?,
        };
        while let Some(item) = reader.next_item()? {
            if let sewer_wal::reader::Item::Batch(batch) = item {
                events += batch.events().count() as u64;
            }
        }
    }
    Ok(events)
}
