//! Where damaged segments go once their intact events are delivered: `quarantine/`, with a report
//! of what is lost.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sewer_wal::{Layout, Lsn, WalError, WalId, sealed};

use crate::plan::{DamageReport, DamagedSegment, Losses, Plan};

/// How many ranges of lost LSNs a line of the log names.
const LOGGED_RANGES_MAX: usize = 20;

/// The report beside a quarantined segment.
#[derive(Serialize)]
struct Report<'a> {
    wal_id: WalId,
    segment: Lsn,
    /// The LSNs of the shipment that its intact events went out with.
    shipment_first_lsn: Lsn,
    shipment_last_lsn: Lsn,
    events_shipped: u64,
    /// `null` if nothing tells how many.
    events_lost: Option<u64>,
    damage: &'a [DamageReport],
}

/// Moves a damaged segment away, with its report. Can be repeated.
///
/// # Errors
/// If the disk refuses.
pub fn quarantine(layout: &Layout, plan: &Plan, segment: &DamagedSegment) -> Result<(), WalError> {
    let Losses { events, uncounted } = segment.losses();
    let events_lost = Some(events).filter(|_| uncounted == 0);
    let report = Report {
        wal_id: plan.wal_id,
        segment: segment.name.base,
        shipment_first_lsn: plan.first_lsn,
        shipment_last_lsn: plan.last_lsn,
        events_shipped: segment.events,
        events_lost,
        damage: &segment.damage,
    };
    let mut text = serde_json::to_vec_pretty(&report).expect("a report has only plain keys");
    text.push(b'\n');
    let path = sealed::quarantine(layout, segment.name, &text)?;
    let events_lost = events_lost.map_or("unknown".into(), |events| events.to_string());
    tracing::error!(
        path = %path.display(), events_shipped = segment.events, %events_lost,
        lsns_lost = lost_lsns(&segment.damage),
        "quarantined a damaged segment; the report beside it names what is lost"
    );
    Ok(())
}

/// The LSNs that are lost, as many as a line of the log should have.
fn lost_lsns(damage: &[DamageReport]) -> String {
    let lost = damage.iter().filter(|damage| damage.first_lost_lsn.is_some());
    let mut ranges: Vec<_> = lost.take(LOGGED_RANGES_MAX + 1).map(ToString::to_string).collect();
    if let Some(further) = ranges.get_mut(LOGGED_RANGES_MAX) {
        "…".clone_into(further);
    }
    if ranges.is_empty() { "none".to_owned() } else { ranges.join(", ") }
}

/// What lies in `quarantine/`.
#[derive(Debug, Default)]
pub struct Quarantined {
    /// What the reports say, and of which WAL.
    pub reports: Vec<(WalId, DamagedSegment)>,
    /// Where nothing tells what is lost: a line for each.
    pub problems: Vec<String>,
}

/// As much of a written report as is needed.
#[derive(Deserialize)]
struct Written {
    wal_id: WalId,
    events_shipped: u64,
    damage: Vec<DamageReport>,
}

/// Looks at what was quarantined.
///
/// # Errors
/// If the directory cannot be listed.
pub fn look(layout: &Layout) -> Result<Quarantined, WalError> {
    let mut found = Quarantined::default();
    let mut names = [layout.quarantine_reports()?, layout.quarantined_names()?].concat();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let path = layout.quarantine_report(name);
        match read(&path) {
            Ok(Written { wal_id, events_shipped: events, damage }) => {
                found.reports.push((wal_id, DamagedSegment { name, events, damage }));
            }
            Err(why) => found.problems.push(format!(
                "LOST to damage, nothing tells what: the segment {name} is in quarantine, and its \
                 report {} {why}",
                path.display()
            )),
        }
    }
    for path in layout.quarantined_logs()? {
        let path = path.display();
        found.problems.push(format!(
            "LOST to damage, nothing tells what: the log {path} was put aside as unreadable"
        ));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Written, String> {
    let text = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    serde_json::from_slice(&text).map_err(|e| format!("is not one: {e}"))
}
