//! Side by side: nginx, Flume and the pixel under the same requests, by connections.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::plot::{Plot, Series};
use crate::report::{Outcome, Table};
use crate::servers::{AccessLog, PixelServer, Server, Slice, flume, nginx};
use crate::settings::{Settings, own};
use crate::slices::{HEADS, Slices};
use crate::stats::{as_f64, decimal, largest};
use crate::wrk::Load;

/// Keep-alive connections.
const CONNECTIONS: [usize; 3] = [64, 400, 2000];

/// What the ratios are to.
const BASE: &str = "nginx, buffered log";

const DURABLE: &str = "pixel, durable";

const CEILING: &str = "pixel, no WAL";

const FLUME: &str = "Flume, file channel";

/// Flume is slow: its slices are longer, so that there are enough answers in them, and it is not in
/// every round.
const FLUME_SLICE_FACTOR: u64 = 3;
const FLUME_EVERY: usize = 3;

/// What a JVM needs to compile what is hot.
const FLUME_WARM_UP_SECONDS: (u64, u64) = (30, 3);

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "connections", ..Outcome::default() };
    let mut servers = start(settings, directory.path(), &mut outcome);
    let mut results = Vec::new();
    for connections in CONNECTIONS {
        results.push((connections, measure(settings, &mut servers, connections, &mut outcome)));
    }
    drop(servers);
    tell(&results, &mut outcome);
    outcome
}

fn start(settings: &Settings, root: &Path, outcome: &mut Outcome) -> Vec<Server> {
    let mut servers = vec![
        nginx(&own(root, "off"), AccessLog::Off, 1, true),
        nginx(&own(root, "buffered"), AccessLog::Buffered, 1, true),
        nginx(&own(root, "unbuffered"), AccessLog::Unbuffered, 1, true),
        PixelServer::durable(settings, &own(root, "durable")).server,
        PixelServer::received(settings, &own(root, "received")).server,
        PixelServer::without_log(settings, &own(root, "none")).server,
    ];
    servers.extend(PixelServer::of_before(settings, root));
    let (long, short) = FLUME_WARM_UP_SECONDS;
    let warm_up = Load::full(CONNECTIONS[0], settings.either(long, short));
    let started = flume(settings, &own(root, "flume"));
    match started.and_then(|mut flume| flume.slice(&warm_up).map(|_| flume)) {
        Ok(flume) => servers.push(flume),
        Err(why) => outcome.failures.push(why),
    }
    // The first requests of a process meet cold caches.
    for server in servers.iter_mut().filter(|server| server.label != FLUME) {
        if let Err(why) = server.slice(&Load::full(CONNECTIONS[0], 1)) {
            outcome.failures.push(why);
        }
    }
    servers
}

fn measure(
    settings: &Settings,
    servers: &mut [Server],
    connections: usize,
    outcome: &mut Outcome,
) -> Slices {
    Slices::take(
        servers,
        |server| server.label,
        settings.rounds,
        |round, server| {
            let is_flume = server.label == FLUME;
            if is_flume && round % FLUME_EVERY != 0 {
                return None;
            }
            let factor = if is_flume { FLUME_SLICE_FACTOR } else { 1 };
            let load = Load::full(connections, settings.slice_seconds * factor);
            server.slice(&load).map_err(|why| outcome.failures.push(why)).ok()
        },
    )
}

fn tell(results: &[(usize, Slices)], outcome: &mut Outcome) {
    let mut data = Map::new();
    for (connections, slices) in results {
        let title = format!("{connections} connections; ratios to \"{BASE}\" in the same round");
        let mut table = Table::new(&title, &[&["server"][..], &HEADS].concat());
        for label in slices.labels() {
            table.row([vec![label.to_owned()], slices.cells(label, BASE)].concat());
        }
        outcome.tables.push(table);
        data.insert(connections.to_string(), slices.json(BASE));
        let to_flume = slices.ratio(DURABLE, FLUME, |slice| slice.requests_per_second);
        outcome.notes.push(format!(
            "{connections} connections: durable pixel / Flume, requests/s: {}",
            decimal(to_flume, 1)
        ));
        data.insert(format!("{connections}_pixel_to_flume"), json!(to_flume));
        let resident = largest(slices.all(DURABLE).map(|slice| slice.resident_mib));
        outcome.notes.push(format!(
            "{connections} connections: resident memory of the durable pixel after its slices, at \
             most: {} MiB",
            decimal(resident, 1)
        ));
        data.insert(format!("{connections}_pixel_resident_mib"), json!(resident));
        let idle = |label| decimal(slices.median(label, |slice| slice.load_idle * 100.0), 0);
        outcome.notes.push(format!(
            "{connections} connections: the load's core has nothing to do for {} % of the time with \
             \"{BASE}\", {} % with \"{DURABLE}\" and {} % with \"{CEILING}\"",
            idle(BASE),
            idle(DURABLE),
            idle(CEILING)
        ));
    }
    outcome.data = Value::Object(data);
    let plot = |file, title: &str, y, of| Plot {
        file,
        title: title.to_owned(),
        x: "keep-alive connections",
        y,
        series: series(results, of),
    };
    outcome.plots = vec![
        plot("throughput.svg", "Requests per second, server on one core", "requests/s", |slice| {
            slice.requests_per_second
        }),
        plot("latency.svg", "99th percentile of latency at full speed", "ms", |slice| slice.p99_ms),
    ];
}

fn series(results: &[(usize, Slices)], of: fn(&Slice) -> f64) -> Vec<Series> {
    let Some((_, first)) = results.first() else { return Vec::new() };
    let line = |label: &'static str| {
        let points = results.iter();
        let points =
            points.map(|(count, slices)| (as_f64(*count as u64), slices.median(label, of)));
        Series { name: label.to_owned(), points: points.collect() }
    };
    first.labels().map(line).collect()
}
