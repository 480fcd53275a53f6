//! Low load: one connection. The durable answer beside one bare write and fdatasync of the same
//! size and the same exchange without a WAL.

use serde_json::json;

use crate::disk::Disk;
use crate::report::{Outcome, Table};
use crate::servers::PixelServer;
use crate::settings::{Settings, own};
use crate::slices::rounds;
use crate::stats::{decimal, median};
use crate::wrk::Load;

/// What one round has shown; times in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Round {
    durable: f64,
    without_wal: f64,
    bare: f64,
    event_bytes: f64,
    ratio: f64,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "lone", ..Outcome::default() };
    let root = directory.path();
    let mut durable = PixelServer::durable(settings, &own(root, "durable"));
    let mut without_wal = PixelServer::without_log(settings, &own(root, "none"));
    let mut disk = Disk::new(directory.path());
    let rounds = rounds(settings, &mut outcome, || {
        round(settings, &mut durable, &mut without_wal, &mut disk)
    });
    let middle = |of: fn(&Round) -> f64| decimal(median(rounds.iter().map(of)), 0);
    let mut table = Table::new(
        "One connection, median latencies in microseconds; the ratio is durable / (bare + no WAL)",
        &["durable", "bare write + fdatasync", "no WAL", "bytes per event", "ratio"],
    );
    let ratio = median(rounds.iter().map(|round| round.ratio));
    table.row([
        middle(|round| round.durable),
        middle(|round| round.bare),
        middle(|round| round.without_wal),
        middle(|round| round.event_bytes),
        decimal(ratio, 2),
    ]);
    outcome.tables.push(table);
    outcome.data = json!({ "ratio": ratio, "rounds": rounds });
    outcome
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The size of an event.
fn round(
    settings: &Settings,
    durable: &mut PixelServer,
    without_wal: &mut PixelServer,
    disk: &mut Disk,
) -> Result<Round, String> {
    let load = Load::full(1, settings.slice_seconds);
    let before = durable.counts();
    let durable_us = durable.server.slice(&load)?.p50_ms * 1e3;
    let counts = durable.counts() - before;
    let without_wal_us = without_wal.server.slice(&load)?.p50_ms * 1e3;
    let event_bytes = counts.wal_bytes / counts.batches;
    let bare_us = disk.write_and_sync_ms(event_bytes as usize) * 1e3;
    let ratio = durable_us / (bare_us + without_wal_us);
    let (durable, without_wal, bare) = (durable_us, without_wal_us, bare_us);
    Ok(Round { durable, without_wal, bare, event_bytes, ratio })
}
