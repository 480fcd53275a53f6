//! Rolls under load: the seconds in which a segment ends, those in which it is then sealed and the
//! next one prepared, and the others.

use serde_json::json;

use crate::report::{Outcome, Table, ms};
use crate::servers::{PixelServer, Slice};
use crate::settings::Settings;
use crate::stats::{median, thousands};
use crate::wrk::Load;

const CONNECTIONS: usize = 64;

/// What a slice had of a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Roll,
    After,
    Other,
}

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "rolls", ..Outcome::default() };
    let size = format!("wal.segment_bytes={}", settings.either("256MiB", "8MiB"));
    let sets = ["pixel.workers=1", &size];
    let mut pixel = PixelServer::start(settings, directory.path(), "pixel, durable", true, &sets);
    let mut slices: Vec<(Kind, Slice)> = Vec::new();
    for _ in 0..settings.either(60, 6) {
        let before = pixel.counts();
        match pixel.server.slice(&Load::full(CONNECTIONS, 1)) {
            Ok(slice) => {
                let has_rolled = (pixel.counts() - before).segment > 0.5;
                let is_after = slices.last().is_some_and(|(kind, _)| *kind == Kind::Roll);
                let kind = match (has_rolled, is_after) {
                    (true, _) => Kind::Roll,
                    (false, true) => Kind::After,
                    (false, false) => Kind::Other,
                };
                slices.push((kind, slice));
            }
            Err(why) => outcome.failures.push(why),
        }
    }
    let title = format!("Slices of 1 s, {CONNECTIONS} connections, {size}; medians");
    let head = ["slices", "how many", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
    let mut table = Table::new(&title, &head);
    let kinds = [
        (Kind::Roll, "with a roll"),
        (Kind::After, "right after one with a roll"),
        (Kind::Other, "others"),
    ];
    for (kind, name) in kinds {
        let of = |value: fn(&Slice) -> f64| {
            median(slices.iter().filter(|(of, _)| *of == kind).map(|(_, slice)| value(slice)))
        };
        let count = slices.iter().filter(|(of, _)| *of == kind).count();
        table.row([
            name.to_owned(),
            count.to_string(),
            thousands(of(|slice| slice.requests_per_second)),
            ms(of(|slice| slice.p50_ms)),
            ms(of(|slice| slice.p99_ms)),
            ms(of(|slice| slice.p999_ms)),
            ms(of(|slice| slice.max_ms)),
        ]);
    }
    outcome.tables.push(table);
    outcome.data = json!({ "slices": slices });
    outcome
}
