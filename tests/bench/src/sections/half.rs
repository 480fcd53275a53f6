//! Latency at half of the capacity, beside one fsync of as many bytes as a batch had, and beside a
//! pixel without a WAL at the same rate: what load and machine do to latency by themselves.

use serde_json::json;

use super::pace;
use crate::disk::Disk;
use crate::report::{Outcome, Table, ms};
use crate::servers::{PixelServer, Slice};
use crate::settings::{Settings, own};
use crate::slices::rounds;
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
    without_wal_p99_ms: f64,
}

/// A pixel and the pause with which the load comes to the wanted rate.
struct Paced {
    pixel: PixelServer,
    pause_ms: f64,
}

impl Paced {
    fn new(pixel: PixelServer) -> Self {
        Self { pixel, pause_ms: f64::NAN }
    }

    /// A slice at a rate, about: the machine wanders, and the pace goes with it.
    fn slice(&mut self, full: &Load, wanted: f64) -> Result<Slice, String> {
        let server = &mut self.pixel.server;
        if self.pause_ms.is_nan() {
            self.pause_ms = pace::pause_for(server, full, wanted)?;
        }
        let slice = server.slice(&Load { pause_ms: Some(self.pause_ms), ..*full })?;
        self.pause_ms = pace::corrected(self.pause_ms, full, slice.requests_per_second, wanted);
        Ok(slice)
    }
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "half", ..Outcome::default() };
    let root = directory.path();
    let mut durable = Paced::new(PixelServer::durable(settings, &own(root, "durable")));
    let mut without_wal = Paced::new(PixelServer::without_log(settings, &own(root, "none")));
    let mut disk = Disk::new(root);
    let rounds = rounds(settings, &mut outcome, || {
        round(settings, &mut durable, &mut without_wal, &mut disk)
    });
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
        "p99 ms, no WAL",
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
        ms(middle(|round| round.without_wal_p99_ms)),
    ]);
    outcome.tables.push(table);
    outcome.data = json!({ "ratio": ratio, "rounds": rounds });
    outcome
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The size of a batch.
fn round(
    settings: &Settings,
    durable: &mut Paced,
    without_wal: &mut Paced,
    disk: &mut Disk,
) -> Result<Round, String> {
    let full = Load::full(CONNECTIONS, settings.slice_seconds);
    let capacity = durable.pixel.server.slice(&full)?.requests_per_second;
    let wanted = capacity * SHARE;
    let before = durable.pixel.counts();
    let slice = durable.slice(&full, wanted)?;
    let counts = durable.pixel.counts() - before;
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
        without_wal_p99_ms: without_wal.slice(&full, wanted)?.p99_ms,
    })
}
