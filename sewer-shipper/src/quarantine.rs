//! Where damaged segments go once their intact events are delivered: `quarantine/`, with a report
//! of what is lost.

use serde::Serialize;
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
        segment: segment.base,
        shipment_first_lsn: plan.first_lsn,
        shipment_last_lsn: plan.last_lsn,
        events_shipped: segment.events,
        events_lost,
        damage: &segment.damage,
    };
    let mut text = serde_json::to_vec_pretty(&report).expect("a report has only plain keys");
    text.push(b'\n');
    let path = sealed::quarantine(layout, segment.base, &text)?;
    tracing::error!(
        path = %path.display(), events_shipped = segment.events, events_lost,
        "quarantined a damaged segment; the report beside it names what is lost"
    );
    Ok(())
}
