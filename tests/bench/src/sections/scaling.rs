//! By workers and by the size of events. Servers and load share all cores here.

use serde_json::{Map, Value, json};

use crate::report::{Outcome, Table};
use crate::servers::{AccessLog, PixelServer, Server, nginx};
use crate::settings::{Settings, own};
use crate::slices::{HEADS, Slices};
use crate::stats::decimal;
use crate::wrk::{Load, Request};

const CONNECTIONS: usize = 400;

/// The sizes of events in the WAL.
const EVENT_BYTES: [usize; 3] = [200, 1024, 4096];

/// What an event of these requests has beside its User-Agent.
const OTHER_BYTES: usize = 100;

const LABELS: [&str; 4] =
    ["nginx, 1 worker", "nginx, 2 workers", "pixel, 1 worker", "pixel, 2 workers"];

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let root = directory.path();
    let mut outcome = Outcome { section: "scaling", ..Outcome::default() };
    let pixel = |name, label, set| {
        PixelServer::start(settings, &own(root, name), label, false, &[set]).server
    };
    let mut servers: Vec<Server> = vec![
        nginx(&own(root, "nginx-1"), AccessLog::Buffered, 1, false),
        nginx(&own(root, "nginx-2"), AccessLog::Buffered, 2, false),
        pixel("pixel-1", LABELS[2], "pixel.workers=1"),
        pixel("pixel-2", LABELS[3], "pixel.workers=2"),
    ];
    for (server, label) in servers.iter_mut().zip(LABELS) {
        server.label = label;
    }
    let mut data = Map::new();
    for event_bytes in EVENT_BYTES {
        let request = Request::Get(event_bytes - OTHER_BYTES);
        let full = Load::full(CONNECTIONS, settings.slice_seconds);
        let load = Load { request, pinned: false, ..full };
        let slices = Slices::take(
            &mut servers,
            |server| server.label,
            settings.rounds,
            |_, server| server.slice(&load).map_err(|why| outcome.failures.push(why)).ok(),
        );
        let title = format!(
            "Events of {event_bytes} bytes, {CONNECTIONS} connections, nothing pinned; ratios to \
             \"{}\" in the same round",
            LABELS[0]
        );
        let mut table = Table::new(&title, &[&["server"][..], &HEADS].concat());
        for label in slices.labels() {
            table.row([vec![label.to_owned()], slices.cells(label, LABELS[0])].concat());
        }
        outcome.tables.push(table);
        let ratio = slices.ratio(LABELS[3], LABELS[1], |slice| slice.requests_per_second);
        outcome.notes.push(format!(
            "{event_bytes} bytes: pixel / nginx with 2 workers each, requests/s: {}",
            decimal(ratio, 2)
        ));
        data.insert(event_bytes.to_string(), slices.json(LABELS[0]));
        data.insert(format!("{event_bytes}_two_workers_ratio"), json!(ratio));
    }
    outcome.data = Value::Object(data);
    outcome
}
