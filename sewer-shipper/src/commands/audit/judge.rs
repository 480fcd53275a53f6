//! What was seen of a WAL, held to the promise: each LSN once.

use sewer_wal::{Lsn, LsnRange};

use super::{Files, Local, Seen};
use crate::plan::{DamageReport, DamagedSegment, FileName, Losses, Plan};

/// LSNs that something accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    range: LsnRange,
    by: String,
    /// The partitions of its first and its last event, as far as anything tells.
    places: Option<(String, String)>,
}

/// The first and the last LSN that anything accounts for.
pub(super) fn span(seen: &Seen) -> Option<(Lsn, Lsn)> {
    let (claims, _) = claims(seen);
    let first = claims.iter().map(|claim| claim.range.first).min();
    first.zip(claims.iter().filter_map(|claim| claim.range.last()).max())
}

/// A line for everything that keeps the claims from being complete.
pub(super) fn lines(seen: &Seen) -> Vec<String> {
    let (claims, mut lines) = claims(seen);
    let lost = lost(seen);
    let mut reached: Option<&Claim> = None;
    for claim in &claims {
        if let Some(before) = reached {
            let end = before.range.end;
            if claim.range.first > end {
                let place = between(before, claim);
                let missing = LsnRange { first: end, end: claim.range.first };
                gap(missing, &place, &lost, &mut lines);
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
    lines.extend(lost.iter().map(|lost| format!("LOST to damage, as reported: LSN {lost}")));
    let damage = seen.damaged.iter().flat_map(|segment| &segment.damage);
    let uncounted = damage.filter(|damage| damage.is_uncounted());
    lines.extend(uncounted.map(|from| {
        format!("LOST to damage, as reported: LSN {from}, nothing tells how many events")
    }));
    lines
}

/// The LSNs lost to damage, by the reports in quarantine and by plans not finished.
fn lost(seen: &Seen) -> Vec<LsnRange> {
    let damage = seen.damaged.iter().flat_map(|segment| &segment.damage);
    let mut lost: Vec<_> = damage.filter_map(DamageReport::range).collect();
    lost.sort_unstable_by_key(|range| (range.first, range.end));
    lost.dedup();
    lost
}

/// What counts, and what is wrong with single ones.
fn claims(seen: &Seen) -> (Vec<Claim>, Vec<String>) {
    let (mut claims, mut lines) = (Vec::new(), Vec::new());
    let lost = lost(seen);
    for (name, files) in &seen.shipments {
        let (range, FileName { first, last, host, .. }) = (name.range(), name);
        let is_plan = |plan: &&Plan| (plan.first_lsn, plan.last_lsn) == (*first, *last);
        if seen.plans.iter().find(is_plan).is_some_and(|plan| !plan.published) {
            continue; // its segments count until all of it is published
        }
        lines.extend(miscount(range, files, &lost));
        let ends = files.directories.first().zip(files.directories.last());
        let places = ends.map(|(first, last)| (first.clone(), last.clone()));
        let by = format!("the files {host}-*-{first}-{last}.seq");
        claims.push(Claim { range, by, places });
    }
    for local in seen.local.iter().filter(|local| !is_counted_elsewhere(local, seen)) {
        let by = local.path.display().to_string();
        if !seen.damaged.iter().any(|segment| Some(segment.name) == local.name) {
            lines.extend(local.damage.iter().filter_map(|damage| {
                let DamageReport { first_lost_lsn: Some(_), reason, .. } = damage else {
                    return None;
                };
                Some(format!("DAMAGED {by}: LSN {damage} lost: {reason}"))
            }));
        }
        claims.push(Claim { range: local.range, by, places: local.places.clone() });
    }
    // Earlier builds have quarantined segments of which they read nothing without saying what is
    // lost; where such a segment began, something was.
    for DamagedSegment { name, .. } in
        seen.damaged.iter().filter(|s| s.events == 0 && s.losses() == Losses::default())
    {
        let by = format!("the report of {name} in quarantine");
        claims.push(Claim { range: LsnRange::new(name.base, 0), by, places: None });
    }
    claims.sort_by_key(|claim| (claim.range.first, claim.range.end));
    (claims, lines)
}

/// A line if the files of a shipment have more or fewer records than they must.
fn miscount(range: LsnRange, files: &Files, lost: &[LsnRange]) -> Option<String> {
    let expected = range.count() - lost_within(range, lost);
    let Files { count, records, .. } = files;
    if *records < expected {
        let missing = expected - records;
        return Some(format!(
            "GAP LSN {range}: {missing} of {expected} records are in none of its {count} files"
        ));
    }
    let more = records - expected;
    (more > 0).then(|| {
        format!("OVERLAP LSN {range}: {more} records more than {expected} are in its {count} files")
    })
}

/// Whether what a segment or log holds is counted as something else: as files, once they are all
/// published; or as a segment, for a power cut can leave both names of what was being sealed.
fn is_counted_elsewhere(local: &Local, seen: &Seen) -> bool {
    let Some(name) = local.name else {
        let mut sealed = seen.local.iter().filter(|other| other.name.is_some());
        return !local.range.is_empty() && sealed.any(|other| other.range == local.range);
    };
    seen.plans.iter().any(|plan| plan.published && plan.segments.contains(&name))
}

fn lost_within(range: LsnRange, lost: &[LsnRange]) -> u64 {
    let inside = lost.iter().map(|lost| {
        let (first, end) = (lost.first.max(range.first), lost.end.min(range.end));
        end.since(first)
    });
    inside.fold(0, u64::saturating_add).min(range.count())
}

/// Where the events between two claims belong: the partitions of their neighbours.
fn between(before: &Claim, behind: &Claim) -> String {
    let last = before.places.as_ref().map(|(_, last)| last);
    let first = behind.places.as_ref().map(|(first, _)| first);
    match (last, first) {
        (Some(last), Some(first)) if last == first => format!("; their neighbours are in {last}"),
        (Some(last), Some(first)) => format!("; their neighbours are in {last} and in {first}"),
        (Some(one), None) | (None, Some(one)) => format!("; a neighbour of theirs is in {one}"),
        (None, None) => String::new(),
    }
}

/// Names what of a gap no report explains.
fn gap(gap: LsnRange, place: &str, lost: &[LsnRange], lines: &mut Vec<String>) {
    let mut next = gap.first;
    let end = LsnRange { first: gap.end, end: gap.end };
    for lost in
        lost.iter().filter(|lost| lost.end > gap.first && lost.first < gap.end).chain([&end])
    {
        if lost.first > next {
            let missing = LsnRange { first: next, end: lost.first };
            lines.push(format!("GAP LSN {missing}: {} events are nowhere{place}", missing.count()));
        }
        next = next.max(lost.end);
    }
}
