//! A disk whose syncs take long: throughput and latency against the time of one, beside the model.
//!
//! The model: a batch is what arrives during one sync. A closed loop of `c` connections has at most
//! `c` requests in it, so it gets at most `c` answers per sync time T; where those that are
//! answered by one sync all miss the next one, which has begun without them, there are two groups
//! that take turns, and `c` answers per two sync times.

use std::time::Duration;

use serde_json::json;
use sewer_test_support::lossyfs::{Effect, Fault, Image, LossyFs, Op, Rules};

use crate::plot::{Plot, Series};
use crate::report::{Outcome, Table, ms};
use crate::servers::PixelServer;
use crate::settings::Settings;
use crate::stats::{as_f64, decimal, median, thousands};
use crate::wrk::{Load, Request};

const CONNECTIONS: [usize; 2] = [64, 400];

/// What is added to each sync.
const DELAYS_MS: [u64; 4] = [0, 1, 5, 20];

/// Small events, so that it is the sync that takes time, and not the copy of what is written.
const USER_AGENT_BYTES: usize = 32;

/// The file system is in memory; small segments keep little of it.
const SETS: [&str; 2] = ["pixel.workers=1", "wal.segment_bytes=16MiB"];

/// The medians of one delay and number of connections.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Row {
    connections: usize,
    delay_ms: u64,
    sync_ms: f64,
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    batch_events: f64,
    model_requests_per_second: f64,
    share_of_model: f64,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "slow_disk", ..Outcome::default() };
    let fs = match LossyFs::mount(&Image::default(), Rules::Strict) {
        Ok(fs) => fs,
        Err(why) => {
            outcome.failures.push(format!("mount a file system through /dev/fuse: {why}"));
            return outcome;
        }
    };
    let wal = format!("wal.dir={}", fs.path().join("wal").display());
    let sets = [&SETS[..], &[&wal]].concat();
    let mut pixel = PixelServer::start(settings, directory.path(), "pixel, durable", true, &sets);
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        for delay_ms in DELAYS_MS {
            fs.clear_faults();
            if delay_ms > 0 {
                let effect = Effect::Slow(Duration::from_millis(delay_ms));
                fs.add_fault(Fault { op: Op::Sync, nth: 1, times: u64::MAX, effect });
            }
            let rounds = settings.rounds.div_ceil(3);
            let taken: Result<Vec<Row>, String> =
                (0..rounds).map(|_| slice(settings, &mut pixel, connections, delay_ms)).collect();
            match taken {
                Ok(taken) => rows.push(middle(&taken)),
                Err(why) => outcome.failures.push(why),
            }
        }
    }
    // Before the pixel stops, which syncs.
    fs.clear_faults();
    drop(pixel);
    tell(&rows, &mut outcome);
    outcome
}

fn slice(
    settings: &Settings,
    pixel: &mut PixelServer,
    connections: usize,
    delay_ms: u64,
) -> Result<Row, String> {
    let request = Request::Get(USER_AGENT_BYTES);
    let load = Load { request, ..Load::full(connections, settings.slice_seconds) };
    let before = pixel.counts();
    let slice = pixel.server.slice(&load)?;
    let counts = pixel.counts() - before;
    let sync_ms = counts.commit_seconds / counts.batches * 1e3;
    // Without a delay the processor is the limit, about which the model says nothing.
    let of_syncs = as_f64(connections as u64) / sync_ms * 1e3;
    let model = if delay_ms > 0 { of_syncs } else { f64::NAN };
    Ok(Row {
        connections,
        delay_ms,
        sync_ms,
        requests_per_second: slice.requests_per_second,
        p50_ms: slice.p50_ms,
        p99_ms: slice.p99_ms,
        batch_events: counts.events / counts.batches,
        model_requests_per_second: model,
        share_of_model: slice.requests_per_second / model,
    })
}

fn middle(rows: &[Row]) -> Row {
    let of = |value: fn(&Row) -> f64| median(rows.iter().map(value));
    Row {
        sync_ms: of(|row| row.sync_ms),
        requests_per_second: of(|row| row.requests_per_second),
        p50_ms: of(|row| row.p50_ms),
        p99_ms: of(|row| row.p99_ms),
        batch_events: of(|row| row.batch_events),
        model_requests_per_second: of(|row| row.model_requests_per_second),
        share_of_model: of(|row| row.share_of_model),
        ..rows[0]
    }
}

fn tell(rows: &[Row], outcome: &mut Outcome) {
    let head = [
        "connections",
        "delay ms",
        "write + sync (T) ms",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p50 / T",
        "batch",
        "model c / T",
        "of the model",
    ];
    let mut table = Table::new("Small events on a disk with slow syncs", &head);
    for row in rows {
        table.row([
            row.connections.to_string(),
            row.delay_ms.to_string(),
            decimal(row.sync_ms, 2),
            thousands(row.requests_per_second),
            ms(row.p50_ms),
            ms(row.p99_ms),
            decimal(row.p50_ms / row.sync_ms, 2),
            decimal(row.batch_events, 1),
            thousands(row.model_requests_per_second),
            decimal(row.share_of_model, 2),
        ]);
    }
    outcome.tables.push(table);
    outcome.data = json!(rows);
    let line = |connections: usize, name: &str, of: fn(&Row) -> f64| Series {
        name: format!("{connections} connections, {name}"),
        points: rows
            .iter()
            .filter(|row| row.connections == connections)
            .map(|row| (row.sync_ms, of(row)))
            .collect(),
    };
    let lines = CONNECTIONS.into_iter().flat_map(|connections| {
        [
            line(connections, "measured", |row| row.requests_per_second),
            line(connections, "c / T", |row| row.model_requests_per_second),
        ]
    });
    outcome.plots.push(Plot {
        file: "slow_disk.svg",
        title: "Requests per second against the time of a sync".to_owned(),
        x: "write + sync, ms",
        y: "requests/s",
        series: lines.collect(),
    });
}
