//! Where damaged segments go once their intact events are delivered: `quarantine/`, with a report
//! of what is lost.

use std::fs;
use std::io::ErrorKind;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sewer_wal::{Layout, Lsn, WalError, WalId, sealed};

use crate::plan::{DamageReport, DamagedSegment, Plan};

/// The report beside a quarantined segment.
#[derive(Serialize)]
struct Report<'a> {
    wal_id: WalId,
    segment: Lsn,
    /// The LSNs of the shipment that its intact events went out with.
    shipment_first_lsn: Lsn,
    shipment_last_lsn: Lsn,
    events_shipped: u64,
    events_lost: u64,
    damage: &'a [DamageReport],
}

/// Moves a damaged segment away, with its report. Can be repeated.
///
/// # Errors
/// If the disk refuses.
pub fn quarantine(layout: &Layout, plan: &Plan, segment: &DamagedSegment) -> Result<(), WalError> {
    let events_lost = segment.lost();
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
    tracing::error!(
        path = %path.display(), events_shipped = segment.events, events_lost,
        "quarantined a damaged segment; the report beside it names what is lost"
    );
    Ok(())
}

/// What the audit needs of a report.
#[derive(Deserialize)]
struct Losses {
    segment: Lsn,
    events_shipped: u64,
    damage: Vec<DamageReport>,
}

/// What the reports in `quarantine/` say.
///
/// # Errors
/// With the report that cannot be read.
pub fn reports(layout: &Layout) -> anyhow::Result<Vec<DamagedSegment>> {
    let dir = layout.quarantine_dir();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("list {}", dir.display()))?,
    };
    let mut reports = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let read = || format!("read the report {}", path.display());
            let Losses { segment: base, events_shipped: events, damage } =
                serde_json::from_slice(&fs::read(&path).with_context(read)?).with_context(read)?;
            reports.push(DamagedSegment { name: base.into(), events, damage });
        }
    }
    Ok(reports)
}
