//! Latency at half of the capacity, beside one fsync of as many bytes as a batch had.

use serde_json::json;

use super::pace;
use crate::disk::Disk;
use crate::report::{Outcome, Table, ms};
use crate::servers::PixelServer;
use crate::settings::Settings;
use crate::stats::{decimal, median, thousands};
use crate::wrk::Load;

const CONNECTIONS: usize = 400;

/// How much of the capacity is asked for.
const SHARE: f64 = 0.5;

/// What one round has shown.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Round {
    share: f64,
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    batch_events: f64,
    batch_bytes: f64,
    fsync_ms: f64,
    limit_ms: f64,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "half", ..Outcome::default() };
    let mut pixel = PixelServer::durable(settings, directory.path());
    let mut disk = Disk::new(directory.path());
    let mut pause_ms = f64::NAN;
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds {
        match round(settings, &mut pixel, &mut disk, &mut pause_ms) {
            Ok(round) => rounds.push(round),
            Err(why) => outcome.failures.push(why),
        }
    }
    let middle = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
    let ratio = middle(|round| round.p99_ms / round.limit_ms);
    let title = "At half of the capacity, from 400 connections; the limit is 3 x fsync + 1 ms";
    let head = [
        "requests/s",
        "of the capacity",
        "p50 ms",
        "p99 ms",
        "batch",
        "batch bytes",
        "fsync of it ms",
        "limit ms",
        "p99 / limit",
    ];
    let mut table = Table::new(title, &head);
    table.row([
        thousands(middle(|round| round.requests_per_second)),
        decimal(middle(|round| round.share), 2),
        ms(middle(|round| round.p50_ms)),
        ms(middle(|round| round.p99_ms)),
        decimal(middle(|round| round.batch_events), 1),
        thousands(middle(|round| round.batch_bytes)),
        decimal(middle(|round| round.fsync_ms), 3),
        ms(middle(|round| round.limit_ms)),
        decimal(ratio, 2),
    ]);
    outcome.tables.push(table);
    outcome.data = json!({ "ratio": ratio, "rounds": rounds });
    outcome
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The size of a batch.
fn round(
    settings: &Settings,
    pixel: &mut PixelServer,
    disk: &mut Disk,
    pause_ms: &mut f64,
) -> Result<Round, String> {
    let full = Load::full(CONNECTIONS, settings.slice_seconds);
    let capacity = pixel.server.slice(&full)?.requests_per_second;
    let wanted = capacity * SHARE;
    if pause_ms.is_nan() {
        *pause_ms = pace::pause_for(&mut pixel.server, &full, wanted)?;
    }
    let load = Load { pause_ms: Some(*pause_ms), ..full };
    let before = pixel.counts();
    let slice = pixel.server.slice(&load)?;
    let counts = pixel.counts() - before;
    // The capacity wanders with the machine, and the pace goes with it.
    *pause_ms = pace::corrected(*pause_ms, &full, slice.requests_per_second, wanted);
    let batch_bytes = counts.wal_bytes / counts.batches;
    let fsync_ms = disk.write_and_sync_ms(batch_bytes as usize);
    Ok(Round {
        share: slice.requests_per_second / capacity,
        requests_per_second: slice.requests_per_second,
        p50_ms: slice.p50_ms,
        p99_ms: slice.p99_ms,
        batch_events: counts.events / counts.batches,
        batch_bytes,
        fsync_ms,
        limit_ms: 3.0 * fsync_ms + 1.0,
    })
}
